//! Tests mailboxes on real servers, which are started here where they are installed: two devices
//! that never run at the same time hold the same, with few requests.
#![cfg(all(unix, feature = "remote"))]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

mod servers;

use std::fs;

use serde_json::Value;

use self::servers::{PASSWORD, Server, USER, by_ssh, on_each};
use crate::common::{Device, NOT_FOUND, PEER, USAGE, counts, paired, trust_each_other};

/// Two paired devices with a mailbox on a server.
fn two_on(server: &Server) -> (Device, Device) {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    for (device, peer) in [(&a, "b"), (&b, "a")] {
        server.let_in(device, PASSWORD);
        device.ok(&[&["mailbox", "add", peer, &server.address], server.login()].concat());
    }
    (a, b)
}

/// Each device runs in turn, three times.
fn settle(a: &Device, b: &Device) {
    for _ in 0..3 {
        a.json(&["sync", "--mailbox", "b"]);
        b.json(&["sync", "--mailbox", "a"]);
    }
}

#[test]
fn two_devices_that_are_never_on_together_hold_the_same() {
    on_each(|server| {
        let (a, b) = two_on(server);
        let rows = |at| format!("{at},https://example.org,user{at},secret {at},,\n");
        let table: String = (0..1_000).map(rows).collect();
        let table =
            a.file("table.csv", format!("Title,URL,Username,Password,Notes,TOTP\n{table}").as_bytes());
        a.ok(&["import", &table]);
        a.put("own/v/gone", "for a while");
        settle(&a, &b);
        assert!(a.locations().len() > 3_000, "{}", server.name);
        assert_eq!(a.locations(), b.locations(), "{}", server.name);

        a.put("own/v/edited", "on a");
        b.put("own/v/new", "on b");
        b.ok(&["remove", "own/v/gone"]);
        a.put("own/v/both", "one");
        b.put("own/v/both", "two");
        settle(&a, &b);
        assert_eq!(a.locations(), b.locations(), "{}", server.name);
        assert_eq!((b.get("own/v/new"), a.get("own/v/new")), ("on b".into(), "on b".into()));
        assert_eq!(a.values("own/v/both").len(), 2, "{}: no value is lost", server.name);
        a.is_absent("own/v/gone");
        let lengths = server.lengths();
        assert!(lengths.iter().all(|len| *len == 2_048), "{}: cards alone stay: {lengths:?}", server.name);
        costs_few_requests(server, &a, &b);
        // What was disclosed before the revocation stays; nothing more comes.
        a.ok(&["revoke", "b"]);
        a.put("own/v/later", "not for b");
        b.json(&["sync", "--mailbox", "a"]);
        b.is_absent("own/v/later");
    });
}

/// Counts requests of two devices that hold the same: one where nothing is to do, and few for an
/// entry. Deletions of old cards come several at a time, and are not counted.
fn costs_few_requests(server: &Server, a: &Device, b: &Device) {
    let sync = |device: &Device, peer: &str| {
        let _ = server.requests();
        let done = device.json(&["sync", "--mailbox", peer]);
        let requests = server.requests();
        if let Some(requests) = &requests {
            let [told] = counts(&done, ["round_trips"]);
            assert_eq!(requests.len() as u64, told, "{}: {requests:?}", server.name);
        }
        let is_kept = |request: &String| !request.starts_with("DELETE");
        (done, requests.map(|requests| requests.into_iter().filter(is_kept).collect::<Vec<_>>()))
    };
    let few = |(done, requests): &(Value, Option<Vec<String>>), most: usize, bytes: u64| {
        assert!(requests.as_ref().is_none_or(|some| some.len() <= most), "{}: {requests:?}", server.name);
        assert!(counts(done, ["bytes_out"])[0] <= bytes, "{}: {done}", server.name);
    };
    for (device, peer) in [(a, "b"), (b, "a")] {
        few(&sync(device, peer), 1, 0);
    }
    a.put("own/v/one", "an entry more");
    few(&sync(a, "b"), 3, 2_000);
    few(&sync(b, "a"), 3, 2_048);
    assert_eq!(b.get("own/v/one"), "an entry more");
    few(&sync(a, "b"), 3, 0);
    for (device, peer) in [(b, "a"), (a, "b")] {
        few(&sync(device, peer), 1, 0);
    }
}

#[test]
fn each_mistake_says_what_to_do_and_shows_no_password() {
    on_each(|server| {
        let (a, _b) = paired();
        server.let_in(&a, "wrong");
        let add = |address: &str, login: &[&str], exit| {
            let done = a.run(&[&["mailbox", "add", "b", address], login].concat(), b"");
            assert_eq!(done.exit, exit, "{address} {login:?}: {}", done.stderr);
            let shown = done.stderr + &String::from_utf8_lossy(&done.stdout);
            assert!(!shown.replace(address, "").contains(USER) && !shown.contains(PASSWORD), "{shown}");
            shown
        };
        let (address, login) = (server.address.as_str(), server.login());
        if server.checks_login {
            let refused = add(address, login, PEER);
            assert!(refused.contains("does not permit it: check the login"), "{refused}");
            assert!(add(address, &["--login", "wallet/web/none"], NOT_FOUND).contains("no username"));
        }
        server.let_in(&a, PASSWORD);
        let away = add(&address.replace("place", "elsewhere"), login, PEER);
        assert!(away.contains("no such place"), "{}: {away}", server.name);
        assert_eq!(a.json(&["mailbox", "list"])["mailboxes"].as_array().unwrap().len(), 0);
        add(address, login, 0);
    });
    let (a, _b) = paired();
    let wrong = |address: &str, login: &[&str], exit| {
        a.fails(&[&["mailbox", "add", "b", address], login].concat(), exit)
    };
    wrong("http://127.0.0.1:1/place", &[], PEER);
    for address in ["https://me:secret@host/folder", "sftp://me:secret@host/folder"] {
        assert!(!wrong(address, &[], USAGE).contains("secret"));
    }
    assert!(wrong("sftp://host/folder", &["--login", "wallet/ssh"], USAGE).contains("`ssh` finds the key"));
    wrong("ftp://host/folder", &[], USAGE);
    for address in ["dropbox:///folder", "gdrive:///folder"] {
        assert!(wrong(address, &[], NOT_FOUND).contains("username, password and token"));
    }
}

/// A place that goes away is told, also where nothing is in it yet, and is not made again.
#[test]
fn a_place_that_is_gone_is_told() {
    on_each(|server| {
        let place = server.file("files").join("place");
        if server.name.contains("S3") {
            return;
        }
        let (a, b) = two_on(server);
        let is_gone = || {
            fs::remove_dir_all(&place).unwrap();
            let told = a.run(&["sync", "--mailbox", "b"], b"").stderr;
            let expected = "error: b: the mailbox can't be used: the server has no such place\n";
            assert!(told.starts_with(expected), "{}: {told}", server.name);
            assert!(!place.exists(), "{}", server.name);
        };
        is_gone();
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        settle(&a, &b);
        is_gone();
    });
}

#[test]
fn ssh_checks_the_server_and_the_key_and_asks_nobody() {
    let Some(server) = by_ssh() else { return eprintln!("skipped: rclone or ssh is not installed") };
    let (a, _b) = paired();
    let add = |exit| a.fails(&["mailbox", "add", "b", &server.address], exit);
    let empty = tempfile::tempdir().unwrap();
    a.look_in(empty.path().into());
    let none = add(PEER);
    assert!(none.contains("the program `ssh`, which reaches it, is not installed"), "{none}");

    server.let_in(&a, PASSWORD);
    let known = server.file("known_hosts");
    let right = fs::read_to_string(&known).unwrap();
    let other = fs::read_to_string(server.file("id.pub")).unwrap();
    let host = right.split(' ').next().unwrap();
    for wrong in [String::new(), format!("{host} {other}")] {
        fs::write(&known, wrong).unwrap();
        let told = add(PEER);
        assert!(told.contains("the server's host key is not the known one, or none is known"), "{told}");
    }
    fs::write(&known, right).unwrap();
    fs::rename(server.file("id"), server.file("id.away")).unwrap();
    fs::copy(server.file("host"), server.file("id")).unwrap();
    let told = add(PEER);
    assert!(told.contains("does not permit it: check the login"), "{told}");
    fs::rename(server.file("id.away"), server.file("id")).unwrap();
    a.ok(&["mailbox", "add", "b", &server.address]);
}
