//! Checks the encoding of every kind of message against `testdata/messages.txt`, which is for a
//! second implementation, and against the examples in PROTOCOL.md.
//!
//! After a change of the protocol, `BLESS=1 cargo test -p stronghold-sync --test it messages` rewrites
//! the file.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_bytes::ByteBuf;
use stronghold_sync::{
    Ancestors, Edition, EntryId, Location, RevisionId, Selection, Shape, Stamp, Timestamp,
    message::{
        Agreed, Batch, LeftOut, Listing, Message, Open, PROTOCOL, Propose, RecipientKey, RecordList, Refusal,
        Request, Volume,
    },
    reconcile::{
        Content, Digest, NeedMore, RangeDigest, SetDigest,
        internals::{Set, SetKey},
    },
};

const HEAD: &str = "\
# Messages of the protocol, version 1, encoded: a name and the bytes in hexadecimal, one a line. A name begins with the
# message's kind. The record is `client/vault/record`; revisions are 32 bytes 11, and 22 with the ancestor 33; keys are the
# 4 bytes aa; a stamp is 8 bytes 44; sets have the secret of 32 bytes 09. See stronghold-net/PROTOCOL.md, sections 3 and 4.
";

fn location() -> Location {
    "client/vault/record".parse().unwrap()
}

fn select(text: &str) -> Selection {
    text.parse().unwrap()
}

fn shape() -> Shape {
    let (revision, ancestors) = (RevisionId::from_bytes([0x11; 32]), Ancestors::default());
    Shape { location: location().id(), revision, ancestors, size: 64, deleted: false }
}

fn tombstone() -> Shape {
    let ancestors = Ancestors::from_newest_first(vec![RevisionId::from_bytes([0x33; 32])]).unwrap();
    Shape { revision: RevisionId::from_bytes([0x22; 32]), ancestors, size: 0, deleted: true, ..shape() }
}

fn key() -> RecipientKey {
    RecipientKey::new(vec![0xAA; 4]).unwrap()
}

/// Returns the set of the one entry, under the attempt's key.
fn set(attempt: u8) -> Set {
    let entries: [EntryId; 1] = [shape().entry()];
    Set::new(SetKey::new(&[9; 32], attempt), entries)
}

fn symbol() -> u64 {
    set(0).symbols()[0].bits()
}

fn symbols() -> ByteBuf {
    ByteBuf::from(symbol().to_le_bytes().to_vec())
}

fn summary(attempt: u8) -> SetDigest {
    set(attempt).summary().clone()
}

fn requests() -> Vec<(&'static str, Message)> {
    let open = |request| {
        let pair_key = matches!(request, Request::Sync { .. });
        Message::Open(Open { protocol: PROTOCOL, request, edition: Edition::default(), pair_key })
    };
    let (selection, everything) = (select("client/vault/*"), Selection::everything());
    vec![
        ("Open/import", open(Request::Import { selection: everything.clone(), key: key() })),
        ("Open/browse", open(Request::Browse { selection: selection.clone() })),
        ("Open/fetch", open(Request::Fetch { selection: selection.clone(), key: key() })),
        ("Open/sync-both", open(Request::Sync { selection: everything, pull: true, push: true })),
        ("Open/sync-pull", open(Request::Sync { selection, pull: true, push: false })),
    ]
}

fn refusals() -> Vec<(&'static str, Message)> {
    vec![
        ("Refused/not-permitted", Message::Refused(Refusal::NotPermitted)),
        ("Refused/deletions", Message::Refused(Refusal::Deletions)),
        ("Refused/version", Message::Refused(Refusal::Version)),
        ("Refused/protocol-error", Message::Refused(Refusal::ProtocolError)),
        ("Refused/failed", Message::Refused(Refusal::Failed)),
        ("Refused/stopped", Message::Refused(Refusal::Stopped)),
        ("Refused/busy", Message::Refused(Refusal::Busy)),
        ("Refused/not-ready", Message::Refused(Refusal::NotReady)),
        ("Refused/limits", Message::Refused(Refusal::Limits)),
    ]
}

fn finding() -> Vec<(&'static str, Message)> {
    let scope = Some(select("client/vault/*"));
    let all = Agreed {
        pull: scope.clone(),
        push: scope.clone(),
        delete: scope,
        held: Some(summary(0)),
        day: Some(20_000),
        candidates: None,
        edition: Edition { generation: 7, stamp: Some(Stamp::from_bytes([0x44; 8])) },
        copied: false,
    };
    let copied = Agreed { copied: true, ..all.clone() };
    let records = |records: &[&str]| {
        let mut ids: Vec<_> = records.iter().map(|at| at.parse::<Location>().unwrap().id()).collect();
        ids.sort();
        RecordList::new(ids).unwrap()
    };
    let list = records(&["client/vault/a", "client/vault/b", "client/other/a", "other/vault/a"]);
    let candidates = Agreed { candidates: Some(list.clone()), ..all.clone() };
    let no_candidates = Agreed { candidates: Some(records(&[])), ..all.clone() };
    let push_only = Agreed { pull: None, delete: None, held: None, day: None, ..all.clone() };
    let ranges = |content| Message::Digest(Digest::Ranges(vec![RangeDigest { end: None, content }]));
    let cut = vec![
        RangeDigest { end: Some(1 << 60), content: Content::Skip },
        RangeDigest { end: None, content: Content::Full(vec![symbol()]) },
    ];
    vec![
        ("Asking", Message::Asking),
        ("Agreed/all", Message::Agreed(all)),
        ("Agreed/copied", Message::Agreed(copied)),
        ("Agreed/push-only", Message::Agreed(push_only)),
        ("Agreed/candidates", Message::Agreed(candidates)),
        ("Agreed/no-candidates", Message::Agreed(no_candidates)),
        ("Candidates", Message::Candidates(list)),
        ("Candidates/none", Message::Candidates(records(&[]))),
        ("Digest/cells", Message::Digest(Digest::Cells(symbols()))),
        ("Digest/symbols", Message::Digest(Digest::Symbols(symbols()))),
        ("Digest/no-symbols", Message::Digest(Digest::Symbols(ByteBuf::new()))),
        ("Digest/range-sum", ranges(Content::Sum(17, symbol()))),
        ("Digest/ranges-skip-and-full", Message::Digest(Digest::Ranges(cut))),
        ("Offer", Message::Offer(vec![shape()])),
        ("DigestEnd", Message::DigestEnd),
        ("NeedMore/more", Message::NeedMore(NeedMore::More)),
        ("NeedMore/rekeyed", Message::NeedMore(NeedMore::Rekeyed(Box::new(summary(1))))),
        ("NeedMore/ranges", Message::NeedMore(NeedMore::Ranges(vec![0, 200]))),
        ("Missing", Message::Missing(vec![shape(), tombstone()])),
        ("Needed", Message::Needed(symbols())),
        ("DiffEnd", Message::DiffEnd),
        ("Mismatch", Message::Mismatch),
    ]
}

fn transfer() -> Vec<(&'static str, Message)> {
    let propose = |key| Message::Propose(Propose { key });
    let left =
        LeftOut { not_taken: 2, untaken: vec![0], not_given: 1, ungiven: vec![location()], copied: false };
    let (revision, modified) = (shape().revision, Timestamp::from_millis(1_700_000_000_000));
    let listing = Listing { location: location(), revision, size: 64, modified, conflict: false };
    vec![
        ("NamesWanted", Message::NamesWanted(vec![0, 2])),
        ("Names", Message::Names(vec![location()])),
        ("LeftOut", Message::LeftOut(left)),
        ("Want", Message::Want(vec![0, 1, 128, 70_000])),
        ("Push", Message::Push(vec![tombstone()])),
        ("Propose/with-key", propose(Some(key()))),
        ("Propose/wants-nothing", propose(None)),
        ("Accept/with-key", Message::Accept(Some(key()))),
        ("Accept/wants-nothing", Message::Accept(None)),
        ("Granted", Message::Granted(Volume { entries: 2, bytes: 128 })),
        ("Listing", Message::Listing(vec![listing])),
        ("Batch", Message::Batch(Batch { index: 0, entries: 2, len: 1000 })),
        ("Chunk", Message::Chunk(vec![1, 2, 3])),
        ("Ack", Message::Ack(0)),
        ("End", Message::End),
    ]
}

fn examples() -> Vec<(&'static str, Message)> {
    [requests(), refusals(), finding(), transfer()].concat()
}

/// Returns the kind of a message. A new kind must be listed here, and so needs an example.
fn kind(message: &Message) -> &'static str {
    match message {
        Message::Open(_) => "Open",
        Message::Refused(_) => "Refused",
        Message::Asking => "Asking",
        Message::Agreed(_) => "Agreed",
        Message::Candidates(_) => "Candidates",
        Message::Digest(_) => "Digest",
        Message::Offer(_) => "Offer",
        Message::DigestEnd => "DigestEnd",
        Message::NeedMore(_) => "NeedMore",
        Message::Missing(_) => "Missing",
        Message::Needed(_) => "Needed",
        Message::DiffEnd => "DiffEnd",
        Message::Mismatch => "Mismatch",
        Message::NamesWanted(_) => "NamesWanted",
        Message::Names(_) => "Names",
        Message::LeftOut(_) => "LeftOut",
        Message::Want(_) => "Want",
        Message::Push(_) => "Push",
        Message::Propose(_) => "Propose",
        Message::Accept(_) => "Accept",
        Message::Granted(_) => "Granted",
        Message::Listing(_) => "Listing",
        Message::Batch(_) => "Batch",
        Message::Chunk(_) => "Chunk",
        Message::Ack(_) => "Ack",
        Message::End => "End",
    }
}

const KINDS: usize = 26;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/messages.txt")
}

fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '))
}

#[test]
fn the_file_has_every_kind_as_it_is_encoded() {
    let line =
        |(name, message): &(&str, Message)| format!("{name} {}\n", hex(&rmp_serde::to_vec(message).unwrap()));
    let expected: String = [HEAD.to_owned()].into_iter().chain(examples().iter().map(line)).collect();
    if std::env::var_os("BLESS").is_some() {
        fs::write(file(), &expected).unwrap();
    }
    let held = fs::read_to_string(file()).unwrap();
    assert_eq!(held, expected, "the encoding has changed: is that another version of the protocol?");

    let kinds: BTreeSet<&str> = examples().iter().map(|(_, message)| kind(message)).collect();
    assert_eq!(kinds.len(), KINDS);
    for (name, message) in examples() {
        assert_eq!(name.split('/').next(), Some(kind(&message)));
    }
}

#[test]
fn what_the_file_has_decodes_to_what_it_says() {
    let held = fs::read_to_string(file()).unwrap();
    let decoded: Vec<(&str, Message)> =
        lines(&held).map(|(name, hex)| (name, rmp_serde::from_slice(&bytes(hex)).unwrap())).collect();
    assert_eq!(decoded, examples());
}

#[test]
fn the_protocol_document_shows_what_the_file_has() {
    let document = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../stronghold-net/PROTOCOL.md");
    let document = fs::read_to_string(document).unwrap();
    let shown: Vec<&str> = document.lines().skip_while(|line| *line != "```messages").skip(1).collect();
    let shown: Vec<&str> = shown.into_iter().take_while(|line| *line != "```").collect();
    assert!(shown.len() > 4, "the document shows some");
    let held = fs::read_to_string(file()).unwrap();
    for line in shown {
        assert!(held.lines().any(|held| held == line), "the document has another encoding: {line}");
    }
}

#[test]
fn a_key_that_is_too_long_is_none() {
    assert!(RecipientKey::new(vec![0; 4_096]).is_ok() && RecipientKey::new(vec![0; 4_097]).is_err());
    let encoded = |len| rmp_serde::to_vec(&serde_bytes::ByteBuf::from(vec![0; len])).unwrap();
    assert!(rmp_serde::from_slice::<RecipientKey>(&encoded(4_096)).is_ok());
    assert!(rmp_serde::from_slice::<RecipientKey>(&encoded(4_097)).is_err());
}
