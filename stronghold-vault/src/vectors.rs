//! Checks the code against `testdata/vectors.txt`, made for second implementations: ids, sealed
//! contents and the log's hashes under fixed inputs, as in section 7 of the snapshot format.
//!
//! After a change of the format, `BLESS=1 cargo test -p stronghold-vault --lib vectors` rewrites
//! the file.

use std::{fs, path::PathBuf};

use serde_bytes::ByteBuf;
use stronghold_sync::{Ancestors, DeviceId, Location, RevisionId, Timestamp, hex};

use crate::{
    AuditAction, AuditEntry, AuditLog, AuditRecord, AuditTotal,
    devices::Devices,
    locked::LockedKey,
    record::{Origin, RecordCipher},
    revision::{Labels, Revision},
};

const HEAD: &str = "\
# What is inside a snapshot's payload, format version 1: a name and bytes in hexadecimal, one a line. What stands under a name that
# begins with `given/` is chosen; the rest follows from it, as stronghold-snapshot/FORMAT.md says, section 7. The record is
# `wallet/web/mail`. Revisions are given as they travel: [salt, author, ancestors, deleted, labels, time, value]; the changed one
# replaces the first, the deletion the changed one. A sealed revision is as the payload has it, of author 0, written here. The log is
# of three decisions, the last of a selection of 300 letters `x`; the folded one has the first two as sums.
";

const KEY: [u8; 32] = [6; 32];
const DEVICE: DeviceId = DeviceId::from_bytes([4; 32]);

fn revision(salt: u8, after: &[RevisionId], value: Option<&str>) -> Revision {
    let labels = [("from", "csv"), ("user", "mö")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    Revision {
        salt: [salt; 32],
        author: DEVICE,
        ancestors: Ancestors::from_newest_first(after.to_vec()).unwrap(),
        deleted: value.is_none(),
        labels: if value.is_some() { Labels::from(labels) } else { Labels::new() },
        time: Timestamp::from_millis(1_700_000_000_000 + u64::from(salt)),
        value: value.unwrap_or_default().as_bytes().to_vec().into(),
    }
}

fn of_revisions() -> Vec<(String, Vec<u8>)> {
    let location = "wallet/web/mail".parse::<Location>().unwrap().id();
    let (key, mut devices) = (LockedKey::new(&KEY), Devices::default());
    let author = devices.number(DEVICE);
    let keeper = RecordCipher { key: &key, location, devices: &devices };
    let first = revision(1, &[], Some("hunter2"));
    let changed = revision(2, &[first.id()], Some("correct horse"));
    let deleted = revision(3, &[changed.id(), first.id()], None);
    let mut vectors = vec![
        ("given/vault-key".to_owned(), KEY.to_vec()),
        ("id/client".to_owned(), location.client.as_bytes().to_vec()),
        ("id/vault".to_owned(), location.vault.as_bytes().to_vec()),
        ("id/record".to_owned(), location.record.as_bytes().to_vec()),
    ];
    for (name, revision) in [("first", first), ("changed", changed), ("deleted", deleted)] {
        let id = revision.id();
        let sealed = keeper.seal(id, &revision, Origin::written_by(author)).unwrap();
        assert_eq!(keeper.open(&sealed).unwrap(), revision);
        vectors.extend([
            (format!("given/revision-{name}"), rmp_serde::to_vec(&revision).unwrap()),
            (format!("revision/{name}-id"), id.as_bytes().to_vec()),
            (format!("revision/{name}-key"), keeper.revision_key(&id).unwrap().to_vec()),
            (format!("revision/{name}-sealed"), rmp_serde::to_vec(&sealed).unwrap()),
        ]);
    }
    vectors
}

/// The payload's form of a log: the checkpoint, and the entries with their hashes.
type Log = ((Vec<AuditTotal>, ByteBuf, ByteBuf), Vec<(AuditEntry, ByteBuf)>);

fn decided(at: u64, deed: AuditAction, selection: &str) -> AuditRecord {
    let (time, selection) = (Timestamp::from_millis(1_700_000_000_000 + at), selection.to_owned());
    AuditRecord {
        time,
        device: DEVICE,
        action: deed,
        selection,
        allowed: at != 2,
        entries: at,
        bytes: 64 * at,
    }
}

fn of_the_log() -> Vec<(String, Vec<u8>)> {
    let mut log = AuditLog::default();
    log.append(decided(1, AuditAction::Pull, "wallet/**"));
    log.append(decided(2, AuditAction::Push, "**"));
    log.append(decided(3, AuditAction::TookDeletions, &"x".repeat(300)));
    let parts = |log: &AuditLog| {
        let bytes = rmp_serde::to_vec(log).unwrap();
        let parts: Log = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(rmp_serde::to_vec(&parts).unwrap(), bytes, "the log's form is another");
        parts
    };
    let mut vectors = Vec::new();
    for (at, (logged, hash)) in parts(&log).1.iter().enumerate() {
        vectors.push((format!("log/{at}-entry"), rmp_serde::to_vec(logged).unwrap()));
        vectors.push((format!("log/{at}-hash"), hash.to_vec()));
    }
    vectors.push(("log/whole".to_owned(), rmp_serde::to_vec(&log).unwrap()));
    log.fold_first(2);
    assert!(log.is_intact());
    let ((_, hash, seal), _) = parts(&log);
    vectors.push(("log/folded-checkpoint-hash".to_owned(), hash.to_vec()));
    vectors.push(("log/folded-checkpoint-seal".to_owned(), seal.to_vec()));
    vectors.push(("log/folded".to_owned(), rmp_serde::to_vec(&log).unwrap()));
    vectors
}

#[test]
fn the_file_has_what_follows_from_what_is_given() {
    let vectors = [of_revisions(), of_the_log()].concat();
    let lines = vectors.iter().map(|(name, bytes)| format!("{name} {}\n", hex::text(bytes)));
    let expected: String = [HEAD.to_owned()].into_iter().chain(lines).collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(held, expected, "ids, contents or the log are others: is that another version of the format?");
}
