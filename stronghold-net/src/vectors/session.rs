//! Checks `testdata/session.txt`: a whole sync as it crosses the channel, frame by frame, under
//! fixed keys.
//!
//! The test recomputes and compares everything except the sealed batches. Sealing draws random
//! bytes, so the file keeps the batches: the test opens them and compares their payload with the
//! one that it seals.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::PathBuf,
};

use stronghold_snapshot::{NewSlot, RecipientSecretKey, Unlock, VaultFile, now};
use stronghold_sync::{
    Ancestors, Decision, DeviceId, Edition, Location, Operation, Rule, Selection, Stamp, Stamps, Timestamp,
    hex,
    message::Message,
    session::{
        Action, Consent, Initiator, Push, Responder, Session, SessionRequest, Summary, SyncOptions, Take,
        TaskResult,
    },
};
use stronghold_vault::{Entry, Identity, Labels, Revision, Stronghold};
use tempfile::TempDir;

use super::{BINDING, compare_or_bless, devices};
use crate::{
    NoHandler, SharedVault,
    channel::{
        ephemeral::IdentityProof,
        frame::{self, Role},
    },
    session::{
        binding::secret_of,
        driver::Host,
        host::{VaultHost, recipient_key},
    },
};

const NAME: &str = "session.txt";
const HEAD: &str = "\
# One sync, version 1 of the protocol, from the cards to the end: `>` and a frame of the initiator, `<` and one of the responder,
# each with the kind of its message, in hexadecimal. The devices and the binding are those of vectors.txt; see
# stronghold-net/PROTOCOL.md, sections 1 and 3 to 6. Names that begin with `given/` are chosen, sealed batches among them, as sealing draws
# random bytes; `payload/` is what is in those. Revisions are `given/entry`: [location, revision], as in a batch.
# The initiator may pull wallet/** and push and delete everything; the responder may do everything. Before the sync both hold
# wallet/web/common. The initiator holds wallet/web/mail as it was changed, wallet/web/old, and shared/web/note; the responder
# wallet/web/mail before that, the deletion of wallet/web/old, wallet/web/shop, and private/web/own.
";

const KEYS: [[u8; 32]; 2] = [[0x1A; 32], [0x2A; 32]];
/// The initiator has a stamp of an earlier session; the responder has none.
const EDITIONS: [Edition; 2] = [
    Edition { generation: 3, stamp: Some(Stamp::from_bytes([0x33; 8])) },
    Edition { generation: 5, stamp: None },
];

fn entry(location: &str, author: DeviceId, after: Option<&Entry>, value: Option<&str>) -> Entry {
    let location: Location = location.parse().unwrap();
    let ancestors = Ancestors::from_newest_first(after.iter().map(|entry| entry.revision.id()).collect());
    let labels = value.map(|_| ("from".to_owned(), "csv".to_owned()));
    let revision = Revision {
        salt: [0x5A ^ location.to_string().len() as u8; 32],
        author,
        ancestors: ancestors.unwrap(),
        deleted: value.is_none(),
        labels: labels.into_iter().collect::<Labels>(),
        time: Timestamp::from_millis(1_700_000_000_000 + u64::from(after.is_some())),
        value: value.unwrap_or_default().as_bytes().to_vec().into(),
    };
    Entry { location, revision }
}

/// Returns the entries that each side holds at first, the initiator's first.
fn held() -> [Vec<Entry>; 2] {
    let [initiator, responder] = devices().map(|device| device.device());
    let new = |location, author, value| entry(location, author, None, Some(value));
    let common = new("wallet/web/common", responder, "known to both");
    let mail = new("wallet/web/mail", responder, "hunter2");
    let changed = entry("wallet/web/mail", initiator, Some(&mail), Some("correct horse"));
    let old = new("wallet/web/old", initiator, "not needed");
    let removed = entry("wallet/web/old", responder, Some(&old), None);
    let note = new("shared/web/note", initiator, "a note");
    let shop = new("wallet/web/shop", responder, "battery staple");
    let own = new("private/web/own", responder, "nobody else's");
    [
        vec![common.clone(), mail.clone(), changed, old.clone(), note],
        vec![common, mail, old, removed, shop, own],
    ]
}

/// Creates a Stronghold with this identity in place of its generated one.
fn stronghold(identity: &Identity) -> Stronghold {
    let made = Stronghold::new("device").unwrap();
    let mut bytes = made.to_payload().unwrap();
    let key = made.identity().to_bytes();
    let at = bytes.windows(key.len()).position(|window| window == key.as_slice()).unwrap();
    bytes[at..][..key.len()].copy_from_slice(identity.to_bytes().as_slice());
    Stronghold::from_payload(&bytes).unwrap()
}

fn home(folder: &TempDir, identity: &Identity, entries: &[Entry], rules: Vec<Rule>) -> SharedVault {
    let path = folder.path().join(identity.device().fingerprint());
    let mut home = VaultFile::create(&path, &[NewSlot::Key(&[7; 32])], stronghold(identity)).unwrap();
    let elsewhere = DeviceId::from_bytes([0xEE; 32]);
    let fill = |stronghold: &mut Stronghold| {
        for entry in entries {
            stronghold
                .import(std::slice::from_ref(entry), elsewhere, Timestamp::from_millis(1), |_, _, _| Ok(()))
                .unwrap();
        }
        rules.into_iter().for_each(|rule| {
            stronghold.policy_mut().grant(rule);
        });
        Ok(())
    };
    home.update(fill).unwrap();
    SharedVault::new(home)
}

fn rule(device: DeviceId, operations: &[Operation], selection: &str) -> Rule {
    let operations = operations.iter().copied().collect();
    Rule { device, operations, selection: selection.parse().unwrap(), expires: None, ask: false }
}

/// The file's lines, and the sealed batches in it.
struct Transcript {
    lines: Vec<String>,
    kept: Vec<(String, String)>,
}

impl Transcript {
    fn begun() -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(NAME);
        let text = fs::read_to_string(path).unwrap_or_default();
        let kept = text.lines().filter(|line| line.starts_with("given/batch"));
        let kept =
            kept.filter_map(|line| line.split_once(' ')).map(|(name, value)| (name.into(), value.into()));
        Self { lines: Vec::new(), kept: kept.collect() }
    }

    fn note(&mut self, name: &str, bytes: &[u8]) {
        self.lines.push(format!("{name} {}\n", hex::text(bytes)));
    }

    fn frame(&mut self, role: Role, kind: &str, frame: &[u8]) {
        let arrow = if role == Role::Connected { '>' } else { '<' };
        self.note(&format!("{arrow} {kind}"), frame);
    }

    /// Returns the kept batch in place of the new one, which must have the same content.
    fn batch(&mut self, role: Role, sealed: Vec<u8>) -> Vec<u8> {
        let (from, to) = if role == Role::Connected { ("initiator", 1) } else { ("responder", 0) };
        let opened = |sealed: &[u8]| {
            let secret = RecipientSecretKey::from_bytes(&KEYS[to]).unwrap();
            stronghold_snapshot::open(sealed, &Unlock::Recipient(&secret))
                .ok()
                .map(|open| open.payload.to_vec())
        };
        let name = format!("given/batch-of-the-{from}");
        let payload = opened(&sealed);
        let kept = self.kept.iter().find(|(kept, _)| *kept == name).map(|(_, text)| bytes(text));
        let kept = kept.filter(|kept| std::env::var_os("BLESS").is_none() || opened(kept) == payload);
        let kept = kept.unwrap_or(sealed);
        assert_eq!(opened(&kept), payload, "what is in a batch has changed");
        self.note(&name, &kept);
        self.note(&format!("payload/of-the-{from}"), &payload.unwrap());
        kept
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// One end of the session, with its frame counters.
struct End<'a> {
    role: Role,
    session: Box<dyn Session + 'a>,
    host: VaultHost<'a>,
    sent: u64,
    received: u64,
    summary: Option<Summary>,
}

impl End<'_> {
    fn framed<M: serde::Serialize>(&mut self, message: &M) -> Vec<u8> {
        let mut frame = Vec::new();
        frame::encode(&mut frame, self.role, self.sent, message).unwrap();
        self.sent += 1;
        frame
    }

    fn unframed<M: serde::de::DeserializeOwned>(&mut self, frame: &[u8]) -> M {
        self.received += 1;
        frame::decode(frame, self.role.other(), self.received - 1).unwrap()
    }

    /// Runs the session's actions. Returns the frames that it sends.
    async fn act(&mut self, transcript: &mut Transcript) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(message) => {
                    let frame = self.framed(&message);
                    transcript.frame(self.role, &kind(&message), &frame);
                    frames.push(frame);
                }
                Action::Finished(summary) => self.summary = Some(summary),
                Action::Notify(event) => self.host.notify(event).await.unwrap(),
                Action::Perform(task) => {
                    let result = match self.host.perform(task).await.unwrap() {
                        TaskResult::Sealed(sealed) => TaskResult::Sealed(transcript.batch(self.role, sealed)),
                        other => other,
                    };
                    self.session.handle_result(result).unwrap();
                }
            }
        }
        frames
    }
}

fn kind(message: &Message) -> String {
    format!("{message:?}").chars().take_while(char::is_ascii_alphabetic).collect()
}

fn granted(home: &SharedVault, device: DeviceId, operation: Operation) -> stronghold_sync::Grant {
    match home.lock().stronghold().policy().decide(&device, operation, &Selection::everything(), now()) {
        Decision::Allowed(grant) => grant,
        other => panic!("{other:?}"),
    }
}

/// Exchanges frames as over a channel, until both ends are idle.
async fn talk(ends: &mut [End<'_>; 2], transcript: &mut Transcript) {
    let mut waiting: VecDeque<_> =
        ends[0].act(transcript).await.into_iter().map(|frame| (1, frame)).collect();
    while let Some((to, frame)) = waiting.pop_front() {
        let message: Message = ends[to].unframed(&frame);
        ends[to].session.handle_message(message).unwrap();
        let answers = ends[to].act(transcript).await;
        waiting.extend(answers.into_iter().map(|frame| (1 - to, frame)));
    }
}

#[tokio::test]
async fn one_whole_sync_is_frame_by_frame_as_in_the_file() {
    let folder = TempDir::new().unwrap();
    let identities = devices();
    let [initiator, responder] = [0, 1].map(|at| identities[at].device());
    let entries = held();
    let rules = [
        vec![rule(responder, &[Operation::Pull, Operation::Push, Operation::Delete], "**")],
        vec![
            rule(initiator, &[Operation::Pull], "wallet/**"),
            rule(initiator, &[Operation::Push, Operation::Delete], "**"),
        ],
    ];
    let mut homes =
        rules.into_iter().enumerate().map(|(at, rules)| home(&folder, &identities[at], &entries[at], rules));
    let homes = [homes.next().unwrap(), homes.next().unwrap()];
    let secrets = KEYS.map(|seed| RecipientSecretKey::from_bytes(&seed).unwrap());
    let keys = [0, 1].map(|at| recipient_key(&secrets[at]).unwrap());

    let mut transcript = Transcript::begun();
    for (at, part) in ["initiator", "responder"].iter().enumerate() {
        transcript.note(&format!("given/one-time-seed-of-the-{part}"), &KEYS[at]);
        let all = entries[at].iter().map(|entry| rmp_serde::to_vec(entry).unwrap());
        all.for_each(|entry| transcript.note(&format!("given/entry-of-the-{part}"), &entry));
    }

    let of = |operation| granted(&homes[0], responder, operation);
    let consent = Consent {
        push: Some(of(Operation::Push)),
        delete: Some(of(Operation::Delete)),
        also: BTreeSet::new(),
    };
    let ask = SessionRequest::Sync(SyncOptions {
        selection: Selection::everything(),
        take: Some(Take::Granted(consent)),
        push: Push::Granted(of(Operation::Pull)),
        names: false,
        key: keys[0].clone(),
        secret: secret_of(&BINDING),
        pair: None,
    });
    let policy = homes[1].lock().stronghold().policy().clone();
    let asked = Responder::new(policy, initiator, now(), keys[1].clone(), secret_of(&BINDING));
    let [first, second] = secrets;
    let (mut one, mut other) = (NoHandler, NoHandler);
    let host = |at: usize, secret, handler| {
        let (peer, own) = (identities[1 - at].public().clone(), identities[at].device());
        VaultHost::for_peer(homes[at].clone(), peer, own, secret, &BINDING, handler)
    };
    let mut ends = [
        End {
            role: Role::Connected,
            session: Box::new(Initiator::with_edition(ask, EDITIONS[0], Stamps::default())),
            host: host(0, first, &mut one),
            sent: 0,
            received: 0,
            summary: None,
        },
        End {
            role: Role::Accepted,
            session: Box::new(asked.with_edition(EDITIONS[1], Stamps::default())),
            host: host(1, second, &mut other),
            sent: 0,
            received: 0,
            summary: None,
        },
    ];
    for at in [0, 1] {
        let role = ends[at].role;
        let card = IdentityProof::new(role, &BINDING, &identities[at]);
        let frame = ends[at].framed(&card);
        transcript.frame(role, "card", &frame);
        let card: IdentityProof = ends[1 - at].unframed(&frame);
        assert!(card.is_of(identities[at].public(), role, &BINDING));
    }
    talk(&mut ends, &mut transcript).await;
    let done = ends.map(|end| end.summary.unwrap());
    assert_eq!((done[0].received, done[0].sent), (2, 2), "the deletion and the shop; the mail and the note");
    assert_eq!((done[1].received, done[1].sent), (2, 2));
    compare_or_bless(NAME, &[HEAD.to_owned()].into_iter().chain(transcript.lines).collect::<String>());
}
