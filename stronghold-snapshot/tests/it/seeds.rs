//! Runs the fuzz targets on their seeds, as regression tests.

use std::{fs, path::Path};

use self::runner::each_seed;
use stronghold_snapshot::Merge;
use stronghold_sync::{
    Edition, Location, Mapping, OnConflict, RevisionId, Scope, Selection, Timestamp,
    mailbox::{Listed, Point, Standing},
    session::Acknowledged,
};
use stronghold_vault::{
    AuditAction, AuditRecord, Labels, Peer, PeerCard, PendingStep, RulesHash, Stronghold, WeekKey,
};

#[macro_use]
#[path = "../../../stronghold-sync/tests/it/seeds/runner.rs"]
mod runner;

#[path = "../../fuzz/fuzz_targets/body.rs"]
mod body;
#[path = "../../fuzz/fuzz_targets/changes.rs"]
mod changes;
#[path = "../../fuzz/fuzz_targets/header.rs"]
mod header;
#[path = "../../fuzz/fuzz_targets/payload.rs"]
mod payload;

#[test]
fn body() {
    each_seed("body", body::try_bytes);
}

#[test]
fn changes() {
    each_seed("changes", changes::try_bytes);
}

/// Checks that every seed still applies; `STRONGHOLD_WRITE_SEEDS=1` rewrites them.
#[test]
fn seeds_of_changes_apply() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let base = || Stronghold::from_payload(include_bytes!("../../fuzz/seeds/payload/history")).unwrap();
    if std::env::var_os("STRONGHOLD_WRITE_SEEDS").is_some() {
        let at = |text: &str| text.parse::<Location>().unwrap();
        let write = |name: &str, change: &dyn Fn(&mut Stronghold)| {
            let mut held = base();
            held.begin_changes();
            held.begin_step(PendingStep::command("put", Timestamp::from_millis(9)));
            change(&mut held);
            let _ = held.end_step();
            fs::write(folder.join("changes").join(name), held.changes().unwrap()).unwrap();
        };
        write("none", &|_| {});
        write("record", &|held| {
            _ = held.write(&at("c/v/r"), b"four", Labels::new(), Timestamp::from_millis(9)).unwrap()
        });
        write("vault", &|held| {
            _ = held.write(&at("d/w/r"), b"one", Labels::new(), Timestamp::from_millis(9)).unwrap()
        });
        write("undone", &|held| drop(held.undo(Timestamp::from_millis(9)).unwrap()));
        write("device", &|held| {
            held.rename("another");
            let device =
                held.renew_identity(Timestamp::from_millis(9)).map(|_| held.identity().device()).unwrap();
            held.record_disclosed(&device, [RevisionId::from_bytes([7; 32])]);
            held.log_decision(AuditRecord::about(device, AuditAction::Gave, Timestamp::from_millis(9)));
        });
        write("mailbox", &with_mailbox);
    }
    let left =
        fs::read_dir(folder.join("changes")).unwrap().map(|seed| fs::read(seed.unwrap().path()).unwrap());
    left.for_each(|bytes| base().apply_changes(&bytes).unwrap());
}

#[test]
fn header() {
    each_seed("header", header::try_bytes);
}

#[test]
fn payload() {
    each_seed("payload", payload::try_bytes);
}

/// Checks that every seed still loads; an outdated one would find nothing.
/// `STRONGHOLD_WRITE_SEEDS=1` rewrites them.
#[test]
fn seeds_of_payloads_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/payload");
    if std::env::var_os("STRONGHOLD_WRITE_SEEDS").is_some() {
        for (name, stronghold) in strongholds() {
            fs::write(folder.join(name), stronghold.to_payload().unwrap()).unwrap();
        }
    }
    each_seed("payload", |bytes| drop(Stronghold::from_payload(bytes).unwrap()));
}

/// Adds a paired device with a mailbox through which letters went.
fn with_mailbox(held: &mut Stronghold) {
    let there = Stronghold::new("there").unwrap().identity().public().clone();
    let device = there.device();
    let (name, own_name, spki) = ("peer".to_owned(), String::new(), there.spki().to_vec());
    let peer = Peer {
        name,
        own_name,
        spki,
        address: None,
        paired: Timestamp::from_millis(1),
        generation: 0,
        rendezvous: None,
    };
    held.peers_mut().insert(device, peer);
    held.peers_mut().set_mailbox_place(&device, "/media/stick");
    let mailbox = held.peers_mut().mailbox_mut(&device).unwrap();
    let (point, edition) = (Point { number: 3, id: [3; 8] }, Edition::default());
    let standing = Standing { taken: Point::default(), damaged: point, seen: edition, key: [1; 8] };
    mailbox.outbox.read(&standing, &Listed::default());
    for number in [1, 2] {
        let order = mailbox.outbox.next([number; 8], edition, &standing).unwrap();
        mailbox.outbox.note(&order, &standing, &[RevisionId::from_bytes([number; 32])]);
    }
    mailbox.inbox.take(point);
    (mailbox.card, mailbox.told, mailbox.heard) = (9, Some(standing), Timestamp::from_millis(5));
    mailbox.refused = Some(RulesHash([4; 8]));
    mailbox.peer_card =
        Some(PeerCard { number: 4, standing, key: vec![5; 1_249], time: Timestamp::from_millis(6) });
    mailbox.keys = vec![WeekKey::new(&[7; 32], Timestamp::from_millis(2))];
}

/// Returns a Stronghold of each kind that a payload may hold.
fn strongholds() -> [(&'static str, Stronghold); 7] {
    let at: Location = "c/v/r".parse().unwrap();
    let written = |values: &[&str]| {
        let mut stronghold = Stronghold::new("a").unwrap();
        for (time, value) in (1..).zip(values) {
            stronghold.begin_step(PendingStep::command("put", Timestamp::from_millis(time)));
            stronghold.write(&at, value.as_bytes(), Labels::new(), Timestamp::from_millis(time)).unwrap();
            stronghold.end_step();
        }
        stronghold
    };
    let mut deletion = written(&["one"]);
    deletion.remove(&at, Timestamp::from_millis(2)).unwrap();
    let mut conflict = written(&["here"]);
    let there = written(&["there"]);
    let merge = Merge {
        selection: Selection::everything(),
        mapping: Mapping::default(),
        on_conflict: OnConflict::KeepBoth,
        deletions_confirmed: true,
        now: Timestamp::from_millis(3),
    };
    merge.run(&mut conflict, &there).unwrap();
    let mut known = written(&["one"]);
    let peer = there.identity().public().clone();
    known.log_decision(AuditRecord::about(peer.device(), AuditAction::Revoked, Timestamp::from_millis(1)));
    let (name, own_name) = ("peer".to_owned(), String::new());
    let (spki, paired) = (peer.spki().to_vec(), Timestamp::from_millis(1));
    let paired = Peer { name, own_name, spki, address: None, paired, generation: 0, rendezvous: None };
    known.peers_mut().insert(peer.device(), paired);
    let acknowledged = Acknowledged { scope: Scope::of(Selection::everything()), except: [at.id()].into() };
    known.peers_mut().acknowledge(&peer.device(), &acknowledged, 7);
    let mut mailbox = written(&["one"]);
    with_mailbox(&mut mailbox);
    [
        ("empty", written(&[])),
        ("one-record", written(&["one"])),
        ("history", written(&["one", "two", "three"])),
        ("deletion", deletion),
        ("conflict", conflict),
        ("log", known),
        ("mailbox", mailbox),
    ]
}
