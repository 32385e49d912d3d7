//! A whole Stronghold in a committed file: each later version opens it, and finds in it all that
//! `content.txt` tells.
//!
//! Ids, key labels and the chains of file and log follow from the format. A version that derives
//! any of them in another way finds damage here, or other ids. `STRONGHOLD_WRITE_WHOLE=1` makes
//! both files anew: only after a change of the format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use stronghold_snapshot::{
    Identity, Labels, Location, Mapping, Merge, NewSlot, OnConflict, Selection, Stronghold, Timestamp,
    Unlock, VaultFile, VaultFileError,
};
use stronghold_sync::{DeviceId, Operation, Rule, Scope, hex};
use stronghold_vault::{AuditAction, AuditRecord, Peer, Rendezvous};

const KEY: Unlock<'static> = Unlock::Key(&[5; 32]);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn at(text: &str) -> Location {
    text.parse().unwrap()
}

fn put(stronghold: &mut Stronghold, location: &str, value: &[u8], time: u64) {
    let labels = [("user", "mö"), ("from", "csv")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let labels = if location.ends_with("mail") { Labels::from(labels) } else { Labels::new() };
    stronghold.write(&at(location), value, labels, ms(time)).unwrap();
}

fn merge(into: &mut Stronghold, from: &Stronghold, now: u64) {
    let merge = Merge {
        selection: Selection::everything(),
        mapping: Mapping::default(),
        on_conflict: OnConflict::KeepBoth,
        deletions_confirmed: true,
        now: ms(now),
    };
    merge.run(into, from).unwrap();
}

fn peer(name: &str, paired: u64) -> (DeviceId, Peer) {
    let public = Identity::generate().unwrap().public().clone();
    let peer = Peer {
        name: name.to_owned(),
        own_name: format!("{name} itself"),
        spki: public.spki().to_vec(),
        address: Some("192.0.2.1:4747".to_owned()),
        paired: ms(paired),
        generation: 7,
        rendezvous: Some(Rendezvous::from_bytes([9; 32])),
    };
    (public.device(), peer)
}

fn decided(device: DeviceId, action: AuditAction, selection: &str, time: u64) -> AuditRecord {
    let (time, selection) = (ms(time), selection.to_owned());
    AuditRecord { time, device, action, selection, allowed: time < ms(2_003), entries: 3, bytes: 192 }
}

fn change(vault: &mut VaultFile, change: impl FnOnce(&mut Stronghold)) {
    let changed = vault.update(|here| {
        change(here);
        Ok(())
    });
    changed.unwrap();
}

/// Makes the file: what the first generation holds, then changes that are appended.
fn make(path: &Path) {
    let mut stronghold = Stronghold::new("laptop").unwrap();
    for version in 1..=3 {
        put(&mut stronghold, "wallet/web/mail", format!("version {version}").as_bytes(), version);
    }
    put(&mut stronghold, "wallet/web/empty", b"", 10);
    put(&mut stronghold, "wallet/files/ключ", &[7; 70_000], 11);
    put(&mut stronghold, "work/ssh/gone", b"deleted later", 12);
    let mut phone = Stronghold::new("phone").unwrap();
    merge(&mut phone, &stronghold, 13);
    put(&mut phone, "wallet/web/bank", b"of the phone", 14);
    put(&mut stronghold, "wallet/web/bank", b"of the laptop", 15);
    phone.remove(&at("work/ssh/gone"), ms(16)).unwrap();
    let mut vault = VaultFile::create(path, &[NewSlot::Key(&[5; 32])], stronghold).unwrap();

    let (paired, as_paired) = peer("phone", 20);
    let (revoked, as_revoked) = peer("tablet", 21);
    vault.begin_step("pair");
    vault
        .update(|here| {
            here.peers_mut().insert(paired, as_paired);
            here.peers_mut().insert(revoked, as_revoked);
            let operations = [Operation::Pull, Operation::Push].into();
            let selection = "wallet/**, !wallet/files/*".parse().unwrap();
            here.policy_mut().grant(Rule {
                device: paired,
                operations,
                selection,
                expires: None,
                ask: false,
            });
            let (operations, expires) = ([Operation::Delete].into(), Some(ms(9_000_000_000_000)));
            let selection = "work/ssh/*".parse().unwrap();
            here.policy_mut().grant(Rule { device: paired, operations, selection, expires, ask: true });
            Ok(())
        })
        .unwrap();
    vault.begin_step("sync");
    vault
        .update(|here| {
            merge(here, &phone, 30);
            let held: Vec<_> = here
                .shapes(&Scope::of("wallet/**".parse().unwrap()), &Mapping::default())
                .iter()
                .map(|shape| shape.revision)
                .collect();
            here.record_disclosed(&paired, held);
            here.log_decision(decided(paired, AuditAction::Pull, "wallet/**", 2_001));
            here.log_decision(decided(paired, AuditAction::TookDeletions, "**", 2_002));
            here.log_decision(decided(revoked, AuditAction::Import, &"x".repeat(300), 2_003));
            here.revoke(&revoked, ms(2_004));
            Ok(())
        })
        .unwrap();
    vault.begin_step("put");
    change(&mut vault, |here| put(here, "wallet/web/later", b"appended", 40));
    vault.begin_step("put");
    change(&mut vault, |here| put(here, "wallet/web/later", b"undone", 41));
    vault.begin_step("undo");
    change(&mut vault, |here| _ = here.undo(ms(42)).unwrap());
}

/// Tells all that a file holds, in lines.
fn tell(vault: &VaultFile) -> String {
    let (stronghold, sealer) = (vault.stronghold(), vault.file().sealer());
    let mut told = String::new();
    let tell = &mut told;
    writeln!(tell, "file {} generation {}", hex::text(&sealer.file_id()), sealer.generation()).unwrap();
    writeln!(tell, "device {} {}", stronghold.name(), stronghold.identity().device()).unwrap();
    writeln!(tell, "verified {}, readable {}", stronghold.verify().unwrap(), stronghold.readable()).unwrap();
    let shapes = stronghold.shapes(&Scope::of(Selection::everything()), &Mapping::default());
    for shape in &shapes {
        let name = stronghold.names_of(&shape.location).unwrap();
        let id = shape.location;
        writeln!(tell, "\nhead {name} {} {} {}", id.client, id.vault, id.record).unwrap();
        writeln!(tell, "  {} size {} deleted {}", shape.revision, shape.size, shape.deleted).unwrap();
        for ancestor in shape.ancestors.as_slice() {
            writeln!(tell, "  after {ancestor:?}").unwrap();
        }
        for held in stronghold.history(&name).unwrap() {
            let revision = stronghold.read_revision(&name, &held.revision).unwrap();
            let (author, via) = (held.author, held.via);
            writeln!(
                tell,
                "  holds {} of {author:?} via {via:?} at {}",
                held.revision,
                held.time.as_millis()
            )
            .unwrap();
            let labels: BTreeMap<_, _> = revision.labels.iter().collect();
            let (bytes, text) = (revision.value.len(), String::from_utf8_lossy(&revision.value).into_owned());
            let text: String = text.chars().take(20).collect();
            writeln!(tell, "    {bytes} {text:?} {labels:?} written {}", revision.time.as_millis()).unwrap();
        }
    }
    let conflicts = stronghold.conflicts(&Selection::everything()).unwrap();
    let conflicts: Vec<String> = conflicts.iter().map(|(name, _)| name.to_string()).collect();
    writeln!(tell, "\nconflicts {conflicts:?}").unwrap();
    for (device, peer) in stronghold.peers().iter() {
        let (name, own, paired) = (&peer.name, &peer.own_name, peer.paired.as_millis());
        writeln!(tell, "peer {name} ({own}) {device} paired {paired} at {:?}", peer.address).unwrap();
        let secret = peer.rendezvous.as_ref().map(|secret| hex::text(secret.as_bytes()));
        writeln!(tell, "  key {} secret {secret:?} generation {}", hex::text(&peer.spki), peer.generation)
            .unwrap();
        for (number, rule) in stronghold.policy().rules_of(device) {
            let (selection, expires, ask) = (&rule.selection, rule.expires, rule.ask);
            writeln!(tell, "  rule {number} {:?} {selection} until {expires:?} ask {ask}", rule.operations)
                .unwrap();
        }
        let known: Vec<_> = shapes
            .iter()
            .filter(|shape| stronghold.peers().was_disclosed_to(device, &shape.revision))
            .collect();
        writeln!(tell, "  was told of {} heads", known.len()).unwrap();
    }
    for (device, revoked) in stronghold.peers().revoked() {
        writeln!(tell, "revoked {device} {revoked:?}").unwrap();
    }
    writeln!(tell, "log intact {}", stronghold.log().is_intact()).unwrap();
    for logged in stronghold.log().entries() {
        writeln!(tell, "  {logged:?}").unwrap();
    }
    for step in stronghold.steps() {
        let (word, records, rules) = (step.word(), step.records(), step.changed_rules());
        writeln!(tell, "step {} {word} {records} rules {rules} undone {}", step.number(), step.is_undone())
            .unwrap();
    }
    told
}

#[test]
fn a_committed_file_of_a_whole_stronghold_holds_what_it_did() {
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/whole");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    if std::env::var_os("STRONGHOLD_WRITE_WHOLE").is_some() {
        make(&path);
        fs::create_dir_all(&committed).unwrap();
        fs::copy(&path, committed.join("vault")).unwrap();
        fs::write(committed.join("content.txt"), tell(&VaultFile::open(&path, &KEY).unwrap())).unwrap();
    }
    fs::copy(committed.join("vault"), &path).unwrap();
    let content = fs::read_to_string(committed.join("content.txt")).unwrap();
    let mut vault = VaultFile::open(&path, &KEY).unwrap();
    assert_eq!(tell(&vault), content);

    // Its steps are undone and its history goes on, in a change that is appended and in a whole file.
    let value = |vault: &VaultFile| vault.read(&at("wallet/web/later")).unwrap();
    assert_eq!(value(&vault).unwrap().as_slice(), b"appended");
    change(&mut vault, |here| _ = here.redo(ms(50)).unwrap());
    assert_eq!(value(&vault).unwrap().as_slice(), b"undone");
    for _ in 0..3 {
        change(&mut vault, |here| _ = here.undo(ms(51)).unwrap());
    }
    assert!(!vault.contains(&at("wallet/web/later")) && vault.contains(&at("work/ssh/gone")));
    let renewed: Result<u64, VaultFileError> =
        vault.update_and_renew(&[], |here| Ok(here.purge(&Selection::everything())));
    assert!(renewed.unwrap() > 0);
    let again = VaultFile::open(&path, &KEY).unwrap();
    assert_eq!(again.read(&at("wallet/web/mail")).unwrap().unwrap().as_slice(), b"version 3");
    assert!(again.stronghold().verify().unwrap() > 0 && again.stronghold().log().is_intact());
}
