//! Tests Ctrl-Z at each kind of question and in mid-work, in a shell with job control: the terminal
//! is as before whenever the shell has it, and a resumed command goes on.
#![cfg(unix)]

use crate::common::{Device, Pair};
use crate::terminal::{assert_as_before, shell};
use expectrl::{Expect, session::OsSession};

const CTRL_Z: &str = "\u{1a}";
const CTRL_C: &str = "\u{3}";

/// A command, its questions, each with its answer, and text that it shows at the end.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const HORSE: &str = "correct horse battery staple";

/// Hidden questions, those answered by a line, and those for yes or no. `$K` names the key file.
const CASES: [Case; 9] = [
    ("get w/v/r --snapshot locked", &[("locked: ", HORSE)], "hunter2"),
    ("init --snapshot new", &[("a generated one): ", HORSE), ("Once more: ", HORSE)], "created"),
    ("init --snapshot made", &[("a generated one): ", ""), ("Is it written down? [y/N] ", "y")], "created"),
    ("put w/v/new $K", &[("Value for w/v/new: ", "secret"), ("Once more: ", "secret")], "w/v/new"),
    (
        "put w/v/empty $K",
        &[("Value for w/v/empty: ", ""), ("Write nothing to w/v/empty? [y/N] ", "y")],
        "w/v/empty",
    ),
    ("remove 'w/many/*' $K", &[("Remove 2 records? [y/N] ", "y")], "w/many"),
    ("purge '**' $K", &[("[y/N] ", "y")], "for good"),
    (
        "resolve $K",
        &[("[s]kip, [q]uit: ", "b"), (" [wallet/web/mail-2]: ", "wallet/web/other")],
        "+ wallet/web/other",
    ),
    (
        "passphrase --snapshot locked",
        &[("locked: ", HORSE), ("a generated one): ", "another horse"), ("Once more: ", "another horse")],
        "passphrase",
    ),
];

/// Ends of the questions whose answers are not shown.
const HIDDEN: [&str; 5] = ["locked: ", "one): ", "Once more: ", "new: ", "empty: "];

/// Returns a device with what the commands ask about, and a shell in its folder.
fn prepared() -> (Device, OsSession) {
    let Pair { a, b, .. } = Pair::new();
    for record in ["w/many/1", "w/many/2"] {
        a.put(record, "value");
    }
    a.put("wallet/web/mail", "mine");
    b.put("wallet/web/mail", "theirs");
    a.ok(&["merge", b.snapshot().to_str().unwrap(), "--other-key-file", &b.key_file()]);
    let locked = Device::with_passphrase("locked", HORSE);
    locked.put("w/v/r", "hunter2");
    std::fs::copy(locked.snapshot(), a.folder().join("locked")).unwrap();
    let mut session = shell(&a);
    let key = a.key_file();
    session.send_line(format!("K='--snapshot vault --key-file {key}'; echo se''t")).unwrap();
    session.expect("set").unwrap();
    (a, session)
}

fn start(session: &mut OsSession, command: &str) {
    session.send_line(format!("\"$STRONGHOLD\" {command}")).unwrap();
}

#[test]
fn each_question_can_be_suspended_and_is_answered_afterwards() {
    let (device, mut session) = prepared();
    for (command, questions, end) in CASES {
        start(&mut session, command);
        for (question, answer) in questions {
            session.expect(question).unwrap_or_else(|error| panic!("{command}: {question}: {error}"));
            session.send(format!("x{CTRL_Z}")).unwrap();
            session.expect("Stopped").unwrap_or_else(|error| panic!("{command}: {question}: {error}"));
            assert_as_before(&mut session);
            session.send_line("fg").unwrap();
            // A hidden question is asked again; the others still stand, with an empty line.
            if HIDDEN.iter().any(|end| question.ends_with(end)) {
                session
                    .expect(question)
                    .unwrap_or_else(|error| panic!("{command}: again {question}: {error}"));
            }
            session.send_line(answer).unwrap();
        }
        session.expect(end).unwrap_or_else(|error| panic!("{command}: {end}: {error}"));
        assert_as_before(&mut session);
    }
    assert_eq!(device.get("w/v/new"), "secret");
    assert_eq!(device.get("w/v/empty"), "");
    assert_eq!(device.get("wallet/web/other"), "mine");
    assert!(!device.locations().iter().any(|at| at.starts_with("w/many")), "they were removed");
}

/// A suspended `serve` answers nobody; resumed, it answers as before.
#[test]
fn work_can_be_suspended_and_goes_on() {
    let Pair { a, b, .. } = Pair::new();
    a.ok(&["grant", "b", "pull", "--select", "**"]);
    b.ok(&["grant", "a", "push", "--select", "**"]);
    let mut session = shell(&a);
    let key = a.key_file();
    start(&mut session, &format!("serve --listen 127.0.0.1:0 --snapshot vault --key-file {key}"));
    session.expect("listening on ").unwrap();
    let address = session.expect(" as ").unwrap();
    let address = String::from_utf8_lossy(address.before()).into_owned();
    session.send(CTRL_Z).unwrap();
    session.expect("Stopped").unwrap();
    assert_as_before(&mut session);
    let sync = b.start(&["sync", "a", "--at", &address], b"");
    session.send_line("fg").unwrap();
    let done = sync.end();
    assert_eq!(done.exit, 0, "{}", done.stderr);
    session.send(CTRL_C).unwrap();
    assert_as_before(&mut session);
}
