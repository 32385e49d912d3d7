//! A vault file as the one handle of an application.

use stronghold_snapshot::{
    Access, Labels, Limits, Location, NewSlot, OnRollback, OpenError, OpenFileError, RecipientSecretKey,
    RollbackGuard, RollbackNotes, Selection, Timestamp, Unlock, UpdateError, VaultFile, VaultFileError,
    WriteError, now,
};

const KEY: Unlock<'static> = Unlock::Key(&[5; 32]);

fn at(text: &str) -> Location {
    text.parse().unwrap()
}

#[test]
fn the_file_is_created_once_and_opened_by_its_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let recipient = RecipientSecretKey::from_bytes(&[3; 32]).unwrap();
    for (name, key) in [("key", KEY), ("recipient", Unlock::Recipient(&recipient))] {
        let path = folder.path().join(name);
        let revision = VaultFile::open_or_create(&path, &key).unwrap().write(&at("a/b/c"), b"x").unwrap();
        let opened = VaultFile::open_or_create(&path, &key).unwrap();
        assert_eq!(opened.stronghold().read(&at("a/b/c")).unwrap().id, revision);
        let wrong = VaultFile::open_or_create(&path, &Unlock::Key(&[6; 32])).unwrap_err();
        let VaultFileError::Open(OpenFileError::Snapshot { source, .. }) = wrong else { panic!("{wrong}") };
        assert_eq!(source, OpenError::WrongKey);
        assert_eq!(opened.read(&at("a/b/c")).unwrap().unwrap().as_slice(), b"x");
    }
    let gone = VaultFile::open_or_create(folder.path().join("new"), &Unlock::SlotKey(&[5; 32])).unwrap_err();
    assert!(gone.to_string().contains("new"), "{gone}");
    assert!(!folder.path().join("new").exists(), "a slot's key makes no file");
    let missing = VaultFile::open_or_create(folder.path().join("no/folder"), &KEY).unwrap_err();
    assert!(matches!(missing, VaultFileError::Create(_)), "{missing}");
    // A file that can't be read is not one that does not exist.
    let unread = VaultFile::open_or_create(folder.path().join("key/below"), &KEY).unwrap_err();
    assert!(matches!(unread, VaultFileError::Open(OpenFileError::Storage(_))), "{unread}");
}

#[test]
fn of_several_that_create_a_file_at_once_each_gets_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = folder.path().join(round.to_string());
        let start = std::sync::Barrier::new(4);
        let open = || {
            start.wait();
            VaultFile::open_or_create(&path, &KEY).unwrap().stronghold().identity().device()
        };
        let devices = std::thread::scope(|scope| {
            [0; 4].map(|_| scope.spawn(open)).map(|opened| opened.join().unwrap())
        });
        assert!(devices.iter().all(|device| *device == devices[0]), "{round}");
    }
}

#[test]
fn records_are_written_read_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut vault = VaultFile::open_or_create(&path, &KEY).unwrap();
    let begun = now();
    for text in ["b/v/1", "a/w/2", "a/v/2", "a!/v/1", "a/v/1", "c/v/1"] {
        vault.write(&at(text), text.as_bytes()).unwrap();
    }
    assert!(vault.remove(&at("c/v/1")).unwrap() && vault.remove(&at("a/w/2")).unwrap());
    let before = std::fs::read(&path).unwrap();
    assert!(!vault.remove(&at("c/v/1")).unwrap() && !vault.remove(&at("d/v/1")).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), before, "nothing to remove, nothing written");

    let vault = VaultFile::open_or_create(&path, &KEY).unwrap();
    assert!(vault.contains(&at("a/v/1")) && !vault.contains(&at("a/w/2")));
    assert_eq!(vault.read(&at("a/w/2")).unwrap(), None);
    assert_eq!(vault.read(&at("a/v/2")).unwrap().unwrap().as_slice(), b"a/v/2");
    assert_eq!(vault.clients(), ["a", "a!", "b"]);
    assert_eq!((vault.vaults("a"), vault.vaults("c")), (vec!["v"], vec![]));
    let everything = Selection::everything();
    let listed: Vec<_> = vault.list(&everything).map(Result::unwrap).collect();
    let named: Vec<_> = listed.iter().map(|record| record.location.to_string()).collect();
    assert_eq!(named, ["a/v/1", "a/v/2", "a!/v/1", "b/v/1"]);
    assert!(listed.iter().all(|record| (begun..=now()).contains(&record.modified)));
    assert_eq!(vault.list(&"*/v/1".parse().unwrap()).count(), 3);
}

/// Several kinds of errors pass through `?` in one closure.
#[test]
fn a_change_of_several_records_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut vault = VaultFile::open_or_create(folder.path().join("vault"), &KEY).unwrap();
    let mut move_to = |from: &str, to: &str| {
        vault.update(|stronghold| {
            let value = stronghold.read(&from.parse()?)?.revision.value;
            stronghold.remove(&from.parse()?, now())?;
            stronghold.write(&to.parse()?, &value, Labels::new(), now())?;
            Ok(())
        })
    };
    assert!(matches!(move_to("a/b/c", "a/b/d"), Err(UpdateError::Read(_))));
    assert!(matches!(move_to("a/b", "a/b/d"), Err(UpdateError::Location(_))));
    vault.write(&at("a/b/c"), b"x").unwrap();
    let refused = vault.update(|stronghold| {
        stronghold.remove(&at("a/b/c"), now())?;
        Err::<(), _>(UpdateError::other("no"))
    });
    assert_eq!(refused.unwrap_err().to_string(), "no");
    assert!(vault.contains(&at("a/b/c")));
    let too_large = vault.write(&at("a/b/c"), &vec![0; stronghold_vault::MAX_VALUE + 1]);
    assert!(matches!(too_large, Err(UpdateError::Write(WriteError::TooLarge))));
    assert_eq!(vault.read(&at("a/b/c")).unwrap().unwrap().as_slice(), b"x");
}

/// Writes many records, so that one of them is found in a small part of the file.
fn with_many(path: &std::path::Path) -> VaultFile {
    let mut vault = VaultFile::open_or_create(path, &KEY).unwrap();
    vault
        .update(|stronghold| {
            for n in 0..3000 {
                stronghold.write(&at(&format!("a/v/{n}")), &[n as u8; 40], Labels::new(), now())?;
            }
            Ok(())
        })
        .unwrap();
    vault
}

#[test]
fn one_record_is_read_and_written_without_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut whole = with_many(&path);
    let one = at("a/v/7");
    let mut part = VaultFile::open_records(&path, &KEY, &[one.clone(), at("a/v/none")]).unwrap();
    assert!(part.stronghold().is_partial() && !whole.stronghold().is_partial());
    assert_eq!(part.read(&one).unwrap().unwrap().as_slice(), [7; 40]);
    assert_eq!((part.contains(&at("a/v/none")), part.contains(&at("a/v/8"))), (false, false));
    let before = std::fs::metadata(&path).unwrap().len();
    part.write(&one, b"by a part").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), before + 4096);
    whole.refresh().unwrap();
    assert_eq!(whole.read(&one).unwrap().unwrap().as_slice(), b"by a part");
    whole.write(&one, b"by the whole").unwrap();
    whole.write(&at("a/v/8"), b"another").unwrap();
    part.write(&one, b"by the part again").unwrap();
    assert_eq!(part.stronghold().history(&one).unwrap().len(), 4);
    assert!(!part.contains(&at("a/v/8")), "what was not asked for is not loaded by a change");
    let opened = VaultFile::open(&path, &KEY).unwrap();
    assert_eq!(opened.read(&one).unwrap().unwrap().as_slice(), b"by the part again");
    assert_eq!(opened.read(&at("a/v/8")).unwrap().unwrap().as_slice(), b"another");
    assert_eq!(opened.list(&Selection::everything()).count(), 3000);
    assert_eq!(opened.stronghold().verify().unwrap(), 3004);
    part.load_all().unwrap();
    assert_eq!(part.list(&Selection::everything()).count(), 3000);
}

#[test]
fn a_part_that_has_to_be_written_with_the_whole_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    drop(with_many(&path));
    let open = || VaultFile::open_records(&path, &KEY, &[at("a/v/7")]).unwrap();
    // Under a second name the change would show too.
    std::fs::hard_link(&path, folder.path().join("link")).unwrap();
    let mut part = open();
    part.write(&at("a/v/7"), b"one").unwrap();
    assert!(!part.stronghold().is_partial());
    let count = |path: &std::path::Path| {
        let vault = VaultFile::open(path, &KEY).unwrap();
        (vault.list(&Selection::everything()).count(), vault.read(&at("a/v/7")).unwrap().unwrap().to_vec())
    };
    assert_eq!(count(&path), (3000, b"one".to_vec()));
    assert_eq!(count(&folder.path().join("link")), (3000, vec![7; 40]), "a hard link is a copy");
    // Much was appended.
    let mut grown = 0;
    for n in 0..60 {
        let before = std::fs::metadata(&path).unwrap().len();
        open().write(&at("a/v/7"), format!("value {n}").as_bytes()).unwrap();
        grown += u64::from(std::fs::metadata(&path).unwrap().len() > before);
        assert_eq!(count(&path), (3000, format!("value {n}").into_bytes()));
    }
    assert!((30..60).contains(&grown), "{grown} of 60 were appended");
    // A rule, a log line and a record of another vault.
    let mut part = open();
    let refused = part.update(|held| {
        held.log_decision(stronghold_snapshot::AuditRecord {
            time: Timestamp::from_millis(1),
            device: held.identity().device(),
            action: stronghold_vault::AuditAction::Pull,
            selection: "**".into(),
            allowed: true,
            entries: 0,
            bytes: 0,
        });
        Ok(())
    });
    assert!(refused.is_err(), "the log is not loaded");
    part.load_all().unwrap();
    part.update(|held| {
        Ok(held.write(&at("b/w/1"), b"x", Labels::new(), Timestamp::from_millis(1)).map(drop)?)
    })
    .unwrap();
    assert_eq!(count(&path).0, 3001);
}

/// A device whose values are gone is forgotten when the whole is written.
#[test]
fn no_more_devices_are_stored_with_the_whole_than_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut vault = VaultFile::open_or_create(&path, &KEY).unwrap();
    let device = stronghold_sync::DeviceId::from_bytes([0xd5; 32]);
    vault
        .update(|held| {
            let revision = stronghold_vault::Revision {
                salt: [1; 32],
                author: device,
                ancestors: stronghold_sync::Ancestors::default(),
                deleted: false,
                labels: Labels::new(),
                time: Timestamp::from_millis(1),
                value: b"theirs".to_vec().into(),
            };
            let entry = stronghold_vault::Entry { location: at("a/v/1"), revision };
            held.import(&[entry], device, Timestamp::from_millis(1), |_, _, _| Ok(())).unwrap();
            held.write(&at("a/v/1"), b"own", Labels::new(), Timestamp::from_millis(2))?;
            held.purge(&Selection::everything());
            Ok(())
        })
        .unwrap();
    let names_device = |held: &stronghold_vault::Stronghold| {
        held.to_payload().unwrap().windows(32).any(|bytes| bytes == device.as_bytes())
    };
    assert!(names_device(vault.stronghold()) && vault.stronghold().compacted().unwrap().is_some());
    vault.update_slots(|slots| slots.add_slot(&NewSlot::Key(&[6; 32]), "").map(drop)).unwrap();
    let opened = VaultFile::open(&path, &KEY).unwrap();
    for held in [vault.stronghold(), opened.stronghold()] {
        assert!(!names_device(held) && held.compacted().unwrap().is_none());
        assert_eq!(held.verify(), Ok(1));
    }
}

#[test]
fn a_change_that_fails_or_changes_nothing_writes_nothing_and_leaves_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut vault = with_many(&path);
    let (bytes, payload) = (std::fs::read(&path).unwrap(), vault.stronghold().to_payload().unwrap());
    let failed = vault.update(|held| {
        held.write(&at("a/v/1"), b"x", Labels::new(), Timestamp::from_millis(1))?;
        held.write(&at("new/vault/1"), b"x", Labels::new(), Timestamp::from_millis(1))?;
        held.rename("another");
        Err::<(), _>(WriteError::NotFound.into())
    });
    assert!(failed.is_err());
    vault.update(|_| Ok(())).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert!(*vault.stronghold().to_payload().unwrap() == *payload);
}

#[test]
fn what_was_opened_to_be_read_loads_everything_for_its_first_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut whole = with_many(&path);
    whole.begin_step("put");
    whole.write(&at("a/v/7"), b"one").unwrap();
    let notes = RollbackNotes {
        guard: Some(RollbackGuard::in_folder(folder.path().join("notes"))),
        required: true,
        on_failure: |error| panic!("{error}"),
    };
    let open = |access| {
        let (limits, notes) = (Limits::OWN, notes.clone());
        let records = [at("a/v/7")];
        VaultFile::open_records_guarded(&path, &KEY, &limits, notes, OnRollback::Refuse, &records, access)
    };
    let mut part = open(Access::Read).unwrap();
    assert_eq!(part.read(&at("a/v/7")).unwrap().unwrap().as_slice(), b"one");
    assert!(part.stronghold().is_partial() && !part.stronghold().is_writable());
    assert_eq!(part.stronghold().steps().count(), 0);
    part.write(&at("a/v/7"), b"two").unwrap();
    assert!(part.stronghold().is_writable() && !part.stronghold().is_partial());
    let steps = |vault: &VaultFile| vault.stronghold().steps().count();
    assert_eq!((steps(&part), steps(&open(Access::Write).unwrap())), (3, 3));
    let opened = VaultFile::open(&path, &KEY).unwrap();
    assert_eq!((steps(&opened), opened.list(&Selection::everything()).count()), (3, 3000));
    // An old copy in its place is refused, however it is opened.
    let mut newest = open(Access::Write).unwrap();
    let old = std::fs::read(&path).unwrap();
    newest.write(&at("a/v/7"), b"three").unwrap();
    std::fs::write(&path, old).unwrap();
    for access in [Access::Read, Access::Write] {
        assert!(matches!(open(access), Err(VaultFileError::RolledBack(_))));
    }
}
