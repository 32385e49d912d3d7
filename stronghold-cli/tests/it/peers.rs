//! Tests device identities: pairing, names, and devices that are unknown or revoked.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    thread,
};
use stronghold_sync::Timestamp;

use crate::common::{DENIAL, DENIED, Device, ENTRIES, NOT_FOUND, PEER, Pair, USAGE, pair, paired, strings};

#[test]
fn peers_and_rules_are_listed() {
    let a = Device::new("a");
    let b = Device::new("b");
    let (mut pairing, code, address) =
        a.pair(&["--name", "desk", "--yes", "--grant", "pull", "push", "--select", "wallet"]);
    let joined = b.json_with(&["pair", "--join", &address, "--yes", "--grant", "pull"], code.as_bytes());
    assert_eq!((joined["name"].as_str(), joined["paired"].as_str().unwrap().len()), (Some("a"), 64));
    let event = pairing.event();
    assert_eq!(event["name"], "desk");
    assert_eq!(pairing.end().exit, 0);

    let peer = a.json(&["peers"])["peers"][0].take();
    assert_eq!((peer["name"].as_str(), peer["own_name"].as_str()), (Some("desk"), Some("b")));
    assert_eq!(peer["device"], event["paired"]);
    assert_eq!(peer["rules"][0]["operations"], serde_json::json!(["pull", "push"]));
    assert_eq!(peer["rules"][0]["selection"], serde_json::json!(["wallet"]));
    let device = peer["device"].as_str().unwrap();
    a.ok(&["grant", &device[..10], "delete", "--select", "wallet/web", "--select", "work"]);
    a.fails_cleanly(&["grant", "b", "browse", "--select", "**"], NOT_FOUND);
    a.ok(&["grant", "desk", "browse", "--select", "**"]);
    assert_eq!(a.json(&["peers"])["peers"][0]["rules"].as_array().unwrap().len(), 3);
    assert_eq!(b.json(&["peers"])["peers"][0]["rules"][0]["operations"], serde_json::json!(["pull"]));
    a.fails_cleanly(&["grant", "nobody", "pull", "--select", "**"], NOT_FOUND);
    a.fails_cleanly(&["grant", "desk", "pull"], USAGE);
}

/// The id as every output shows it, with or without groups, selects the device.
#[test]
fn a_device_is_named_as_any_output_shows_it_and_by_no_name_that_it_chose() {
    let (a, b) = paired();
    let device = a.json(&["peers"])["peers"][0]["device"].as_str().unwrap().to_owned();
    let shown = a.ok(&["peers"]).lines().next().unwrap().rsplit("  ").next().unwrap().to_owned();
    let [bare, upper] = [shown.replace('-', ""), shown.to_uppercase()];
    for (at, text) in
        [&device, &shown, &bare, &upper, &shown[..9].to_owned(), &device[..4].to_owned()].iter().enumerate()
    {
        let said = a.ok(&["grant", text, "pull", "--select", &format!("x{at}/**")]);
        assert_eq!(said, format!("b ({shown}) may now: pull on x{at}/**\n"));
    }
    a.fails_cleanly(&["grant", &device[..3], "pull", "--select", "**"], NOT_FOUND);
    a.ok(&["peers", "rename", "b", "phone"]);
    a.fails_cleanly(&["grant", "b", "pull", "--select", "**"], NOT_FOUND);
    let said = a.ok(&["revoke", "phone"]);
    assert!(said.starts_with(&format!("revoked phone ({shown}): 6 rules")), "{said}");
    let said = a.fails_cleanly(&["grant", "phone", "pull", "--select", "**"], NOT_FOUND);
    assert!(said.starts_with("error: phone was revoked on 2"), "{said}");
    // A later device with the same name is a different device.
    let other = Device::new("phone");
    pair(&a, &other);
    let name = a.json(&["peers"])["peers"][0]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("phone-"), "{name}");
    a.fails_cleanly(&["revoke", "phone"], NOT_FOUND);
    drop(b);
}

#[test]
fn who_calls_itself_by_another_devices_id_gets_nothing_that_was_meant_for_it() {
    let (a, b) = paired();
    let shown = a.ok(&["peers"]).lines().next().unwrap().rsplit("  ").next().unwrap().to_owned();
    let imitator = Device::new(&shown);
    pair(&a, &imitator);
    let said = a.ok(&["grant", &shown, "pull", "--select", "**"]);
    assert!(said.starts_with(&format!("b ({shown}) may now")), "{said}");
    let names = strings(&a.json(&["peers"])["peers"], "name");
    assert!(names.iter().any(|name| name.starts_with(&format!("{shown}-peer-"))), "{names:?}");
    drop(b);
}

#[test]
fn names_that_could_never_pair_are_refused_and_odd_ones_are_shown_as_such() {
    let long = "n".repeat(65);
    for name in ["", "  ", "a\nb", "\u{9b}", &long] {
        let device = Device::without_snapshot();
        device.fails_cleanly(&["init", "--name", name], USAGE);
        assert!(!device.snapshot().exists());
    }
    let (a, b) = (Device::new("a"), Device::new("phone\u{3164}"));
    for name in ["", "  ", "a\nb", &long] {
        a.fails_cleanly(&["rename", name], USAGE);
    }
    a.ok(&["rename", "desk"]);
    pair(&a, &b);
    let name = a.json(&["peers"])["peers"][0]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("phone\\u{3164}-"), "{name}");
    assert_eq!(strings(&b.json(&["peers"])["peers"], "name"), ["desk"]);
    for odd in ["cafe", "x\u{200b}", &long] {
        b.fails_cleanly(&["peers", "rename", "desk", odd], USAGE);
    }
    for given in ["beef-cafe", "x\u{202e}", ""] {
        a.fails_cleanly(&["pair", "--listen", "127.0.0.1:0", "--name", given], USAGE);
    }
}

#[test]
fn pairing_grants_nothing_unless_asked_to() {
    let (a, b) = paired();
    for device in [&a, &b] {
        assert_eq!(device.json(&["peers"])["peers"][0]["rules"], serde_json::json!([]));
    }
}

#[test]
fn devices_of_one_name_are_told_apart() {
    let (a, b) = paired();
    let other = Device::new("b");
    pair(&a, &other);
    let names = strings(&a.json(&["peers"])["peers"], "name");
    assert!(names.contains(&"b".into()) && names.iter().any(|name| name.starts_with("b-")), "{names:?}");
    drop(b);
}

#[test]
fn a_name_from_a_peer_is_shown_not_obeyed() {
    let (a, b) = (Device::new("a"), Device::new("b[2J\u{202e}"));
    pair(&a, &b);
    let shown = a.ok(&["peers"]);
    assert!(shown.contains("b[2J\\u{202e}-") && !shown.contains('\u{202e}'), "{shown}");
}

#[test]
fn an_unknown_peer() {
    let pair = Pair::trusting();
    for args in [
        &["sync", "nobody"][..],
        &["browse", "nobody"],
        &["fetch", "nobody", "a/b/c"],
        &["clone", "nobody"],
        &["revoke", "nobody"],
    ] {
        let said = pair.b.fails_cleanly(args, NOT_FOUND);
        assert_eq!(said, "error: no paired device matches \"nobody\"\nhint: see `stronghold peers`\n");
    }
    // A device that `a` does not know, though it knows `a`, as after `revoke` on one side.
    let stranger = Device::new("stranger");
    let (other, _) = paired();
    crate::common::pair(&other, &stranger);
    let said = stranger.fails_cleanly(&["sync", "a", "--at", &pair.address], PEER);
    assert!(said.starts_with("error: the peer hung up without a word: "), "{said}");
}

#[test]
fn nobody_listens() {
    let pair = Pair::trusting();
    let said = pair.b.fails_cleanly(&["sync", "a", "--at", "127.0.0.1:1"], PEER);
    assert!(
        said.starts_with("error: can't reach 127.0.0.1:1: ")
            && said.contains("\nhint: is `stronghold serve`"),
        "{said}"
    );
    pair.b.fails_cleanly(&["sync", "a", "--at", "not an address"], PEER);
}

/// Returns a well-formed code of another pairing.
fn wrong_code() -> String {
    stronghold_net::PairingCode::generate().unwrap().reveal().to_string()
}

#[test]
fn a_wrong_code_is_burnt_after_one_try() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    let before = (a.files(), b.files());
    let (pairing, code, address) = a.pair(&["--yes", "--grant", "import"]);
    let wrong = wrong_code();
    let done = b.run(&["pair", "--join", &address], wrong.as_bytes());
    assert_eq!(done.exit, PEER, "{}", done.stderr);
    let said = "error: the device that answers there says that the pairing code is wrong; nothing was changed\n\
                hint: compare it with the other screen; or run `stronghold pair` there again for a new one\n";
    assert_eq!(done.stderr, said);

    let again = b.run(&["pair", "--join", &address], code.as_bytes());
    assert_eq!(again.exit, PEER, "the right code works after a wrong one");
    let done = pairing.end();
    assert_eq!(done.exit, PEER, "{}", done.stderr);
    assert!(done.stderr.contains("the code is burnt"), "{}", done.stderr);
    assert!(before == (a.files(), b.files()), "a failed pairing left something");
}

#[test]
fn a_failed_clone_leaves_no_snapshot_behind() {
    let a = Device::new("a");
    a.put("s/v/r", "value");
    let (_pairing, _, address) = a.pair(&["--yes", "--grant", "import"]);
    let b = Device::without_snapshot();
    assert_eq!(b.run(&["clone", "--join", &address], wrong_code().as_bytes()).exit, PEER);
    assert!(!b.snapshot().exists());
}

#[test]
fn what_is_no_code_burns_nothing() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    let (pairing, code, address) = a.pair(&[]);
    let mut slip = code.clone().into_bytes();
    slip[0] = if slip[0] == b'7' { b'8' } else { b'7' };
    let slip = String::from_utf8(slip).unwrap();
    for text in ["", "1234", "hello world, hello", "UUUU-UUUU-UUUU-UUUU-U", &slip] {
        let done = b.run(&["pair", "--join", &address], text.as_bytes());
        assert_eq!(done.exit, USAGE, "{text}: {}", done.stderr);
        assert!(done.stderr.contains("nothing was tried with it"), "{}", done.stderr);
    }
    let forgiving = code.to_lowercase().replace('-', " ");
    b.ok_with(&["pair", "--join", &address], forgiving.as_bytes());
    assert_eq!(pairing.end().exit, 0);
}

#[test]
fn a_revoked_device_is_a_stranger_and_keeps_what_it_had() {
    let pair = Pair::synced();
    let done = pair.a.run(&["revoke", "b"], b"");
    assert_eq!(
        (done.exit, done.stderr.as_str()),
        (
            0,
            "hint: what it has received, it keeps; `stronghold list --shared-with b` shows which values to change\n"
        )
    );
    assert_eq!(pair.a.json(&["peers"])["peers"], serde_json::json!([]));
    pair.a.put("s/v/new", "new");
    // The server runs all the while: no restart is needed.
    let said = pair.fails(&["sync", "a"], PEER);
    assert_eq!(
        said,
        "error: the peer hung up without a word: it does not know this device, or is not Stronghold\n\
         hint: is `stronghold serve` running there, and still paired with this device? If not, pair again\n"
    );
    assert_eq!(pair.b.locations(), ENTRIES);
    // Pairing again restores trust, but not the rules.
    crate::common::pair(&pair.a, &pair.b);
    assert_eq!(pair.fails(&["sync", "a"], DENIED), DENIAL);
}

#[test]
fn a_clone_that_was_not_granted_is_denied() {
    let a = Device::new("a");
    a.put("s/v/r", "value");
    let (pairing, code, address) = a.pair(&["--yes", "--grant", "pull", "browse"]);
    let b = Device::without_snapshot();
    let done = b.run(&["clone", "--join", &address], code.as_bytes());
    let note = "note: it may do nothing here yet: stronghold grant PEER OPERATION... --select SELECTION\n";
    assert_eq!((done.exit, done.stderr), (DENIED, format!("{note}{DENIAL}")));
    pairing.end();
    let logged = a.json(&["log"])["entries"][0].take();
    assert_eq!((logged["operation"].as_str(), logged["allowed"].as_bool()), (Some("import"), Some(false)));
    // The pairing stands, so `b` exists with an empty snapshot.
    assert!(b.locations().is_empty());
    assert_eq!(strings(&b.json(&["peers"])["peers"], "name"), ["a"]);
}

#[test]
fn garbage_harms_neither_a_server_nor_a_code() {
    let pair = Pair::trusting();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let (pairing, code, pairing_address) = a.pair(&[]);
    for address in [&pair.address, &pairing_address] {
        for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 0xff, 0xff, 1], &[0xff; 1 << 16]] {
            let mut stream = TcpStream::connect(address).unwrap();
            // The server may hang up before it has read everything.
            let _ = stream.write_all(bytes);
        }
    }
    assert_eq!(pair.sync(&[])[0], 4);
    b.ok_with(&["pair", "--join", &pairing_address], code.as_bytes());
    assert_eq!(pairing.end().exit, 0);
}

#[test]
fn a_server_that_speaks_something_else_is_an_error_of_the_peer() {
    let pair = Pair::synced();
    for greeting in [&b""[..], b"SSH-2.0-something\r\n", &[0xff; 1 << 16]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(greeting);
        });
        let said = pair.b.fails_cleanly(&["sync", "a", "--at", &address], PEER);
        assert!(said.starts_with("error: ") && !said.contains("SSH"), "{said}");
        other.join().unwrap();
    }
    assert_eq!(pair.sync(&[])[..4], [0, 0, 0, 0]);
}

/// Tests a rule that replaces another, one that adds nothing, one that would limit an older broader
/// one, and an invalid one.
#[test]
fn rules_are_replaced_bounded_and_taken_back_by_what_they_say() {
    let (a, _b) = paired();
    let rules = || {
        let rules = a.json(&["peers"])["peers"][0]["rules"].take();
        let text = |rule: &serde_json::Value| format!("{} {}", rule["operations"], rule["selection"]);
        rules.as_array().unwrap().iter().map(text).collect::<Vec<_>>()
    };
    a.ok(&["grant", "b", "pull", "push", "--select", "wallet/**"]);
    let granted = |args: &[&str]| {
        let done = a.run(&[&["grant", "b"], args].concat(), b"");
        (done.exit, done.stderr.contains("no rule was added"))
    };
    assert_eq!(granted(&["pull", "--select", "wallet/web/**"]), (0, true), "it has it");
    let bounded = ["pull", "--select", "wallet/web/**", "--expires", "2099-01-01"];
    assert_eq!(granted(&bounded), (USAGE, false), "what is there has no end");
    assert_eq!(rules(), [r#"["pull","push"] ["wallet/**"]"#]);
    assert_eq!(granted(&["pull", "--select", "wallet/web/**", "--replace"]), (0, false));
    assert_eq!(rules(), [r#"["push"] ["wallet/**"]"#, r#"["pull"] ["wallet/web/**"]"#]);
    let said = a.fails_cleanly(&["deny", "b", "browse"], NOT_FOUND);
    assert!(
        said.starts_with("error: no rule lets b (") && said.contains("do that; nothing was changed"),
        "{said}"
    );
    a.ok(&["deny", "b", "pull"]);
    assert_eq!(rules(), [r#"["push"] ["wallet/**"]"#]);
}

#[test]
fn a_clone_that_grants_back_has_the_rule_it_granted() {
    let (a, b) = (Device::new("a"), Device::without_snapshot());
    a.put("wallet/web/mail", "value");
    let (pairing, code, address) = a.pair(&["--grant", "import", "--yes"]);
    let args = ["clone", "--join", &address, "--grant", "pull", "--grant", "push", "--yes"];
    let done = b.run(&args, code.as_bytes());
    assert_eq!((done.exit, pairing.end().exit), (0, 0), "{}", done.stderr);
    let rules = b.json(&["peers"])["peers"][0]["rules"].take();
    let operations: Vec<_> =
        rules.as_array().unwrap().iter().map(|rule| rule["operations"].to_string()).collect();
    assert_eq!(operations, ["[\"pull\",\"push\"]"], "{rules}");
}

/// A deletion is kept until all devices know it, so a device that never comes is named.
#[test]
fn the_device_that_deletions_wait_for_is_named() {
    let pair = Pair::synced();
    let waiting = || {
        let peer = pair.b.json(&["peers"])["peers"][0].take();
        (peer["deletions_waiting"].as_u64(), peer["waiting_since"].as_u64())
    };
    assert_eq!(waiting(), (Some(0), None));
    let old = 1_700_000_000_000;
    let remove = |vault: &mut stronghold_vault::Stronghold| {
        vault.remove(&ENTRIES[0].parse().unwrap(), Timestamp::from_millis(old)).map(drop)
    };
    pair.b.vault().update(|vault| Ok(remove(vault)?)).unwrap();
    pair.b.ok(&["remove", ENTRIES[1], "--yes"]);
    assert_eq!(waiting(), (Some(2), Some(old)));
    let listed = pair.b.run(&["peers"], b"");
    let (lines, said) = (String::from_utf8(listed.stdout).unwrap(), listed.stderr);
    assert!(lines.contains("\n       2 deletions to be told to it, the first of 2023-11-14"), "{lines}");
    assert_eq!(
        said,
        "hint: deleted records are kept until a has synced; if it is gone for good: `stronghold revoke a`\n"
    );
    pair.sync(&["--yes"]);
    assert_eq!(waiting(), (Some(0), None));
    assert!(!pair.b.ok(&["peers"]).contains("deletion"));
}
