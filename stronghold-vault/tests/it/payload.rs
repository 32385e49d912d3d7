//! A Stronghold as the payload of a snapshot: it loads again completely, no input panics, and
//! `Debug` shows no secret.

use crate::common::*;
use stronghold_sync::{Operation, Rule, Selection};
use stronghold_vault::{Labels, Stronghold};

fn furnished() -> Stronghold {
    let mut vault = new();
    for n in 0..5 {
        put(&mut vault, &format!("wallet/web/{n}"), "one", n);
        put(&mut vault, &format!("wallet/web/{n}"), "two", n);
    }
    vault.write(&at("a/b/c"), b"v", Labels::from([("l".to_owned(), "t".to_owned())]), ms(1)).unwrap();
    vault.remove(&at("wallet/web/0"), ms(9)).unwrap();
    let device = stronghold_sync::DeviceId::from_bytes([1; 32]);
    let operations = Operation::ALL.into();
    vault.policy_mut().grant(Rule {
        device,
        operations,
        selection: Selection::everything(),
        expires: None,
        ask: true,
    });
    vault.peers_mut().insert(
        device,
        stronghold_vault::Peer {
            name: "laptop".into(),
            own_name: "its own name".into(),
            spki: vec![1; 91],
            address: Some("host:1".into()),
            paired: ms(1),
            generation: 5,
            rendezvous: Some(stronghold_vault::Rendezvous::from_bytes([9; 32])),
        },
    );
    let known: Vec<_> = shapes(&vault).iter().map(|shape| shape.revision).collect();
    vault.record_disclosed(&device, known);
    vault.log_decision(stronghold_vault::AuditRecord {
        time: ms(1),
        device,
        action: stronghold_vault::AuditAction::Pull,
        selection: "**".into(),
        allowed: false,
        entries: 0,
        bytes: 0,
    });
    vault
}

#[test]
fn a_whole_stronghold_comes_back_from_its_payload() {
    let vault = furnished();
    let loaded = copy(&vault);
    assert_eq!(bytes(&loaded), bytes(&vault));
    assert_eq!(loaded.identity().device(), vault.identity().device());
    assert_eq!(shapes(&loaded), shapes(&vault));
    assert_eq!(loaded.verify(), vault.verify());
    assert_eq!(get(&loaded, "wallet/web/1").as_deref(), Some("two"));
    assert_eq!(loaded.policy(), vault.policy());
    assert_eq!(loaded.peers().find("laptop"), vault.peers().find("laptop"));
    let device = loaded.peers().find_including_revoked("laptop").unwrap();
    assert_eq!(
        loaded.disclosed_to(&device, &Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap().len(),
        5
    );
    assert!(loaded.log().is_intact() && loaded.log().entries().eq(vault.log().entries()));
}

#[test]
fn a_cut_or_altered_payload_is_an_error_or_a_stronghold_never_a_panic() {
    let payload = bytes(&furnished());
    for end in 0..payload.len() {
        assert!(Stronghold::from_payload(&payload[..end]).is_err());
    }
    let mut damaged = 0;
    for index in 0..payload.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut altered = payload.clone();
            altered[index] ^= flip;
            let Ok(mut vault) = Stronghold::from_payload(&altered) else { continue };
            damaged += u32::from(vault.verify().is_err());
            vault.list(&Selection::everything()).for_each(drop);
            let _ = vault.conflicts(&Selection::everything());
            for shape in shapes(&vault) {
                let _ = export(&vault, &[shape.entry()]);
            }
            put(&mut vault, "wallet/web/1", "next", 1);
        }
    }
    assert!(damaged > 1_000, "only {damaged} alterations of sealed content were noticed");
}

#[test]
fn debug_shows_no_secret() {
    let mut vault = new();
    vault
        .write(
            &at("wallet/web/mail"),
            b"hunter2hunter2",
            Labels::from([("l".to_owned(), "labelled".to_owned())]),
            ms(1),
        )
        .unwrap();
    let read = vault.read(&at("wallet/web/mail")).unwrap();
    let entries = all_entries(&vault);
    let shown = [
        format!("{vault:?} {vault:#?}"),
        format!("{read:?} {entries:?}"),
        format!(
            "{:?} {:?}",
            vault.history(&at("wallet/web/mail")),
            vault.list(&Selection::everything()).collect::<Vec<_>>()
        ),
    ]
    .concat();
    let salt = read.revision.salt;
    let secrets: [&[u8]; 4] = [b"hunter2hunter2", b"labelled", &salt, &*vault.identity().to_bytes()];
    for secret in secrets {
        let decimal = format!("{:?}", &secret[..8]);
        let hex: String = secret[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(decimal.trim_matches(['[', ']'])) && !shown.contains(&hex));
        assert!(std::str::from_utf8(secret).map_or(true, |text| !shown.contains(text)));
    }
    assert!(shown.contains("LockedKey(..)"));
}

#[test]
fn a_hundred_thousand_vault_keys_fit() {
    let mut vault = new();
    for n in 0..100_000 {
        put(&mut vault, &format!("client/{n}/record"), "value", 1);
    }
    assert_eq!(get(&vault, "client/99999/record").as_deref(), Some("value"));
    assert_eq!(vault.verify().unwrap(), 100_000);
}

#[test]
fn a_payload_takes_about_195_bytes_for_a_record_of_64() {
    let mut vault = new();
    let empty = bytes(&vault).len();
    for n in 0..10_000 {
        put(&mut vault, &format!("wallet/web/account-{n:05}"), &"x".repeat(64), 1_700_000_000_000);
    }
    let each = (bytes(&vault).len() - empty) as f64 / 10_000.0;
    println!("{each} bytes a record");
    assert!(each <= 195.0, "{each} bytes a record");
}
