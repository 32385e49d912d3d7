//! The mistakes of a person: each is answered with its cause, the state of the data and the next
//! step, by an exit code that scripts can rely on, and changes nothing.
//!
//! Others have their tests where their subjects are: a damaged, cut or foreign file in `bad_input`,
//! an old copy in `rollback`, a pairing that somebody declines in `terminal`, many deletions in
//! `merge` and `several`, a device that is revoked in `shown`.
#![cfg(unix)]

use std::{fs::File, net::TcpListener, process::Stdio};

use crate::common::{
    DECISION, DENIED, Device, Ended, NOT_FOUND, PEER, Pair, STORAGE, USAGE, at_terminal, end, run,
};

/// A device with two records and files to name by mistake.
fn device() -> Device {
    let device = Device::new("desk");
    device.put("wallet/web/mail", "not base32!");
    device.put("wallet/web/shop/password", "x");
    device.file("large", &vec![b'x'; (4 << 20) + 1]);
    device.file("table.csv", b"name,url,pin\nShop,https://shop.example,1234\n");
    device.file("text.csv", b"no table at all\n");
    device.file("logins.unknown", b"x");
    device
}

/// A command line, its exit code, and its whole text on stderr.
type Mistake<'a> = (&'a [&'a str], i32, &'a str);

const NO_PEER: &str = "error: no paired device matches \"phone\"\nhint: see `stronghold peers`\n";

const MISTAKES: [Mistake<'_>; 28] = [
    // Names of records.
    (
        &["get", "wallet/web"],
        USAGE,
        "error: wallet/web: a location is CLIENT/VAULT/RECORD\nhint: for example: wallet/web/mail\n",
    ),
    (
        &["put", "a//c"],
        USAGE,
        "error: a//c: a name in a location is empty\nhint: for example: wallet/web/mail\n",
    ),
    (
        &["get", "wallet/web/mial"],
        NOT_FOUND,
        "error: no record at wallet/web/mial\nhint: did you mean wallet/web/mail?\n",
    ),
    (
        &["get", "wallet/web/shop"],
        NOT_FOUND,
        "error: no record at wallet/web/shop\nhint: there are records below it: `stronghold show 'wallet/web/shop'`\n",
    ),
    (
        &["get", "wallet/web/none"],
        NOT_FOUND,
        "error: no record at wallet/web/none\nhint: see `stronghold list`\n",
    ),
    (
        &["remove", "web/**"],
        NOT_FOUND,
        "error: nothing matches web/**; nothing was changed\nhint: see `stronghold list`\n",
    ),
    (
        &["export", "web/**", "--output", "out", "--output-key-file", "key"],
        NOT_FOUND,
        "error: nothing matches web/**; nothing was exported\nhint: see `stronghold list`\n",
    ),
    (&["find", "bank", "work"], NOT_FOUND, "error: nothing matches bank work\nhint: see `stronghold list`\n"),
    (
        &["get", "wallet/web/mail", "--revision", "0000000000000000"],
        NOT_FOUND,
        "error: wallet/web/mail: the record has no revision 0000000000000000\nhint: see `stronghold history`\n",
    ),
    (
        &["copy", "wallet/web/mail", "wallet/web/shop/password"],
        USAGE,
        "error: a record is at wallet/web/shop/password; nothing was changed\nhint: name another, or remove that one first\n",
    ),
    (
        &["resolve", "wallet/web/mail", "--keep", "newest"],
        NOT_FOUND,
        "error: wallet/web/mail is not in conflict; nothing was changed\nhint: see `stronghold conflicts`\n",
    ),
    (
        &["purge", "web/**", "--yes"],
        NOT_FOUND,
        "error: there are no replaced values there; nothing was changed\nhint: see `stronghold list` for the names, `stronghold history LOCATION` for their values\n",
    ),
    // Values and files.
    (
        &["put", "a/b/c"],
        DECISION,
        "error: the value for a/b/c is empty; nothing was changed\nhint: did the command that makes it fail? If it is meant to be empty, say --allow-empty\n",
    ),
    (
        &["put", "a/b/c", "--file", "large"],
        USAGE,
        "error: a/b/c: the value is too large: at most 4 MiB, labels 4 KiB\nhint: nothing was changed; write its parts to records of their own\n",
    ),
    (
        &["put", "a/b/c", "--file", "/tmp"],
        USAGE,
        "error: /tmp is a folder\nhint: nothing was changed; name a file\n",
    ),
    (
        &["put", "a/b/c", "--file", "missing"],
        NOT_FOUND,
        "error: missing: there is no such file\nhint: nothing was changed; check its name\n",
    ),
    (
        &["get", "wallet/web/mail", "--output", "key"],
        USAGE,
        "error: key already exists; it was not touched\nhint: name another file\n",
    ),
    (
        &["merge", "missing", "--other-key-file", "key"],
        NOT_FOUND,
        "error: there is no snapshot at missing\nhint: nothing was changed; check the name of the other file\n",
    ),
    (
        &["import", "table.csv"],
        USAGE,
        "error: the table has no columns for titles and passwords: it has name, url, pin; nothing was changed\nhint: export it as CSV from KeePassXC or a browser, or say what is what: --columns title=NAME,password=NAME\n",
    ),
    (
        &["import", "text.csv"],
        USAGE,
        "error: the table has no columns for titles and passwords: its first line does not look like names of columns; nothing was changed\nhint: export it as CSV from KeePassXC or a browser, or say what is what: --columns title=NAME,password=NAME\n",
    ),
    (
        &["totp", "wallet/web/mail"],
        USAGE,
        "error: wallet/web/mail gives no one-time password: it is neither an otpauth:// address nor a base32 secret\nhint: store the otpauth:// address or the secret that the site shows\n",
    ),
    (
        &["passphrase", "--remove", "1"],
        USAGE,
        "error: this is the only one: without it nobody could open the snapshot; nothing was changed\nhint: add another one first: stronghold passphrase --add\n",
    ),
    // Devices.
    (&["sync"], NOT_FOUND, "error: no device is paired\nhint: pair one: `stronghold pair` here and there\n"),
    (&["sync", "phone"], NOT_FOUND, NO_PEER),
    (&["revoke", "phone"], NOT_FOUND, NO_PEER),
    (&["deny", "phone"], NOT_FOUND, NO_PEER),
    (
        &["grant", "phone", "pull", "--select", "**", "--expires", "soon"],
        USAGE,
        "error: invalid time: \"soon\"\nhint: say a span such as 30days, a day such as 2030-01-31, or a time such as 2030-01-31T12:00:00Z\n",
    ),
    (
        &["grant", "phone", "pull", "--select", "**", "--expires", "2020-01-01"],
        USAGE,
        "error: expiry is in the past: \"2020-01-01\"\nhint: nothing was granted\n",
    ),
];

#[test]
fn each_mistake_is_answered_with_its_cause_the_state_and_the_next_step() {
    let device = device();
    for (args, exit, said) in MISTAKES {
        assert_eq!(device.fails_cleanly(args, exit), said, "{args:?}");
    }
    let mut command = device.command(&["run", "--env", "A=wallet/web/mail"]);
    let done = run(command.args(["--", "no-such-program"]), b"");
    let said = "error: no-such-program: there is no such file\nhint: nothing was changed; check its name\n";
    assert_eq!((done.exit, &*done.stderr), (NOT_FOUND, said));
}

#[test]
fn a_file_that_can_not_be_made_or_is_there_already() {
    let device = device();
    let path = device.snapshot().canonicalize().unwrap().display().to_string();
    let taken = format!("error: {path} already exists; it was not touched\nhint: name another file\n");
    for args in [&["init"][..], &["clone", "--join", "127.0.0.1:1"]] {
        assert_eq!(device.fails_cleanly(args, USAGE), taken, "{args:?}");
    }
    let nowhere = device.folder().join("no/vault").display().to_string();
    let done = run(
        crate::common::stronghold().args(["init", "--snapshot", &nowhere, "--key-file", &device.key_file()]),
        b"",
    );
    assert_eq!(done.exit, STORAGE);
    assert!(done.stderr.contains("hint: make its folder first; nothing was changed\n"), "{}", done.stderr);
}

/// Someone who has nothing yet is told how to begin, and how to join.
#[test]
fn no_snapshot_to_pair_with() {
    let device = Device::without_snapshot();
    let path = device.snapshot().display().to_string();
    for args in [&["pair"][..], &["pair", "--join", "127.0.0.1:1"]] {
        let said = device.fails(args, NOT_FOUND);
        let expected = format!(
            "error: there is no snapshot at {path}\nhint: create one with `stronghold init`; or take all that the other \
             device has, with `stronghold clone --join` here and `stronghold pair --grant import` there\n"
        );
        assert_eq!(said, expected, "{args:?}");
    }
}

/// Returns what is said to a word that is no command.
fn said_to(word: &str) -> Ended {
    run(crate::common::stronghold().arg(word), b"")
}

#[test]
fn a_word_that_is_no_command_is_answered_with_one_that_is_meant() {
    for (typed, tip) in [
        ("lst", "some similar subcommands exist: 'ls', 'list'"),
        ("gett", "a similar subcommand exists: 'get'"),
        ("unlok", "a similar subcommand exists: 'unlock'"),
        ("synch", "a similar subcommand exists: 'sync'"),
        ("insert", "a similar subcommand exists: 'put'"),
        ("add", "a similar subcommand exists: 'put'"),
        ("generate", "a similar subcommand exists: 'put'"),
        ("cat", "a similar subcommand exists: 'get'"),
        ("search", "a similar subcommand exists: 'find'"),
        ("grep", "a similar subcommand exists: 'find'"),
        ("delete", "a similar subcommand exists: 'remove'"),
        ("clip", "a similar subcommand exists: 'get'"),
        ("close", "a similar subcommand exists: 'lock'"),
        ("open", "a similar subcommand exists: 'unlock'"),
        ("otp", "a similar subcommand exists: 'totp'"),
    ] {
        let Ended { exit, stderr, .. } = said_to(typed);
        assert_eq!(exit, USAGE, "{typed}");
        assert!(stderr.contains(&format!("tip: {tip}\n")), "{typed}: {stderr}");
    }
    for unknown in ["version", "frobnicate", "x"] {
        let Ended { exit, stderr, .. } = said_to(unknown);
        assert!(exit == USAGE && !stderr.contains("similar"), "{unknown}: {stderr}");
    }
    // These are commands, by the names that people know from elsewhere.
    for word in ["ls", "rm", "mv", "cp", "show", "find", "passwd", "status", "unlock", "lock", "edit"] {
        let done = run(crate::common::stronghold().args([word, "--help"]), b"");
        assert!(done.exit == 0 && done.stdout.starts_with(b"") && !done.stdout.is_empty(), "{word}");
    }
}

#[test]
fn an_option_that_is_missing_is_named_and_no_setting_with_it() {
    let device = device();
    for (args, missing) in [
        (&["grant", "phone", "pull"][..], "--select <GLOB>"),
        (&["restore", "wallet/web/mail"], "--revision <REV>"),
        (&["get"], "<LOCATION>"),
        (&["purge"], "<SELECTION>"),
        (&["fetch", "phone"], "<LOCATIONS>..."),
    ] {
        let mut command = crate::common::stronghold();
        command
            .args(args)
            .env("STRONGHOLD_SNAPSHOT", device.snapshot())
            .env("STRONGHOLD_PASSPHRASE_FILE", "x");
        let Ended { exit, stderr, .. } = run(&mut command, b"");
        assert_eq!(exit, USAGE);
        assert!(stderr.contains(&format!("were not provided:\n  {missing}\n")), "{stderr}");
        assert!(!stderr.contains("snapshot") && !stderr.contains("passphrase"), "{stderr}");
    }
    let said = device.fails_cleanly(&["import", "logins.unknown"], USAGE);
    assert!(
        said.starts_with("error: the file's name does not tell its format\nhint: say it: --format csv"),
        "{said}"
    );
}

#[test]
fn an_address_where_nobody_something_else_or_another_listens() {
    let (a, b) = (device(), Device::new("phone"));
    let (pairing, code, address) = a.pair(&[]);
    // The port is taken.
    for args in [["pair", "--listen", &address], ["serve", "--listen", &address]] {
        let said = b.fails_cleanly(&args, PEER);
        assert!(said.starts_with(&format!("error: can't listen on {address}: ")), "{said}");
        assert!(said.ends_with("hint: say another address with --listen, such as 0.0.0.0:4748\n"), "{said}");
    }
    // A typo is noticed before anything is tried, so that the code stays good.
    let mistyped: String = code.chars().rev().collect();
    let done = b.run(&["pair", "--join", &address], mistyped.as_bytes());
    assert_eq!(done.exit, USAGE);
    assert!(done.stderr.contains("nothing was tried with it, so it is still good"), "{}", done.stderr);
    // Another program listens there.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    });
    let done = b.run(&["pair", "--join", &at], code.as_bytes());
    answering.join().unwrap();
    assert_eq!(done.exit, PEER);
    assert!(done.stderr.starts_with("error: the peer broke the protocol: "), "{}", done.stderr);
    assert!(
        done.stderr.ends_with(
            "hint: is it Stronghold that answers there? Check the address; what was confirmed is kept\n"
        ),
        "{}",
        done.stderr
    );
    // Nobody listens there.
    drop(pairing);
    let done = b.run(&["pair", "--join", &address], code.as_bytes());
    assert_eq!(done.exit, PEER);
    let expected = format!(
        "error: can't reach {address}: nobody listens there; nothing was changed\nhint: is `stronghold serve` or `stronghold pair` running there? Say where with --at or --join\n"
    );
    assert_eq!(done.stderr, expected);
}

#[test]
fn something_that_is_not_permitted_or_nobody_to_ask() {
    let pair = Pair::new();
    let said = pair.fails(&["sync", "a"], DENIED);
    assert!(
        said.starts_with("error: the peer does not permit it\nhint: ask for it there: stronghold grant "),
        "{said}"
    );
    let keyless = run(&mut pair.b.keyless(&["list"]), b"");
    assert_eq!(keyless.exit, USAGE);
    let expected = "error: there is no terminal to ask on\nhint: run `stronghold unlock` at one, or use --passphrase-file, \
                    --passphrase-fd or --key-file; values come from stdin or --file\n";
    assert_eq!(keyless.stderr, expected);
}

/// Help that can't be printed is an error; a reader that has enough is none.
#[test]
fn an_output_that_is_full_or_closed() {
    let device = device();
    let plain = |args: &[&str]| {
        let mut command = crate::common::stronghold();
        command.args(args);
        command
    };
    let helps: [&[&str]; 5] =
        [&["help"], &["--version"], &["get", "--help"], &["help", "locations"], &["completions", "bash"]];
    for args in helps.iter().chain([&["list"][..]].iter()) {
        let command = || if *args == ["list"] { device.command(args) } else { plain(args) };
        let full = File::options().write(true).open("/dev/full").unwrap();
        let done = command().stdin(Stdio::null()).stdout(full).output().unwrap();
        assert_eq!(done.status.code(), Some(STORAGE), "{:?}", command());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = command().stdin(Stdio::null()).stdout(writer).output().unwrap();
        assert_eq!((done.status.code(), done.stderr.len()), (Some(0), 0), "{:?}", command());
    }
}

/// A list of nothing says so on stderr, and nothing on stdout.
#[test]
fn nothing_to_list_is_said() {
    let device = Device::new("desk");
    for (args, said) in [
        (&["list"][..], "there are no records yet: `stronghold put CLIENT/VAULT/RECORD` writes one"),
        (&["list", "--deleted"], "no deleted records"),
        (&["conflicts"], "no conflicts"),
        (&["conflicts", "wallet"], "no conflicts there"),
        (&["peers"], "no paired devices: `stronghold pair` adds one"),
        (&["log"], "no requests yet"),
        (&["undo", "--list"], "nothing to undo"),
    ] {
        let done = device.run(args, b"");
        assert_eq!((done.exit, &*done.stdout), (0, b"".as_slice()), "{args:?}");
        assert_eq!(done.stderr, format!("{said}\n"), "{args:?}");
        assert_eq!(device.run(&[args, &["--quiet"]].concat(), b"").stderr, "", "{args:?}");
        assert_eq!(device.run(&[args, &["--json"]].concat(), b"").stderr, "", "{args:?}");
    }
}

/// At a terminal, Ctrl-D is told from having none.
#[test]
fn an_input_that_is_ended() {
    use expectrl::Expect;
    let device = Device::with_passphrase("desk", "correct horse");
    let mut session = at_terminal(&device, &["list"]);
    session.expect("vault: ").unwrap();
    session.send("\u{4}").unwrap();
    let (exit, said) = end(session);
    assert_eq!(exit, USAGE);
    assert!(said.contains("error: the input was ended (Ctrl-D)\r\nhint: nothing was changed\r\n"), "{said}");
}
