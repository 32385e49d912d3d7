//! Tests Ctrl-Z, Ctrl-C and Ctrl-D at each kind of question and Ctrl-Z in mid-work, in a shell with
//! job control: the terminal is as before whenever the shell has it, a resumed command goes on, and
//! one that was interrupted or left has changed nothing.
#![cfg(unix)]

use std::time::Duration;

use crate::common::{Device, Pair, end, program};
use crate::terminal::{assert_as_before, shell};
use expectrl::{Expect, Session, session::OsSession};

const CTRL_Z: &str = "\u{1a}";
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

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

/// Waits for a question, suspends the command there with half an answer, looks at the terminal, and
/// resumes the command.
#[track_caller]
fn suspend_at(session: &mut OsSession, question: &str) {
    session.expect(question).unwrap_or_else(|error| panic!("{question}: {error}"));
    session.send(format!("x{CTRL_Z}")).unwrap();
    session.expect("Stopped").unwrap_or_else(|error| panic!("{question}: {error}"));
    assert_as_before(session);
    session.send_line("fg").unwrap();
    // A hidden question is asked again; the others still stand, with an empty line.
    if HIDDEN.iter().any(|end| question.ends_with(end)) {
        session.expect(question).unwrap_or_else(|error| panic!("again {question}: {error}"));
    }
}

#[test]
fn each_question_can_be_suspended_and_is_answered_afterwards() {
    let (device, mut session) = prepared();
    for (command, questions, end) in CASES {
        start(&mut session, command);
        for (question, answer) in questions {
            suspend_at(&mut session, question);
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

/// Starts a command in a script that stays when the command is interrupted, and then tells its exit
/// code and whether the terminal is as before. An interactive shell drops what comes while it
/// notices that its command was interrupted. Tests that run in the background may ignore interrupts,
/// as what they start would then.
fn scripted(device: &Device, command: &str) -> OsSession {
    let mut script = std::process::Command::new("env");
    let text = format!(
        "trap : INT; before=$(stty -g); \"$STRONGHOLD\" {command}; echo \"ended: $?\"; [ \"$before\" = \"$(stty -g)\" ] && echo as before"
    );
    script.args(["--default-signal=INT", "bash", "-c"]).arg(text).current_dir(device.folder());
    script.env("STRONGHOLD", program()).env("K", device.key_file()).env_remove("STRONGHOLD_PASSPHRASE_FILE");
    script.env("XDG_STATE_HOME", device.folder().join("state"));
    let mut session = Session::spawn(script).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session
}

#[test]
fn each_question_can_be_interrupted_or_ended_and_nothing_was_changed() {
    let (device, _) = prepared();
    let before = std::fs::read(device.snapshot()).unwrap();
    for (command, questions, _) in CASES {
        let line = command.replace("$K", "--snapshot vault --key-file \"$K\"");
        for left in 0..questions.len() {
            for key in [CTRL_C, CTRL_D] {
                let mut session = scripted(&device, &line);
                for (question, answer) in &questions[..left] {
                    session.expect(question).unwrap_or_else(|error| panic!("{command}: {question}: {error}"));
                    session.send_line(answer).unwrap();
                }
                let question = questions[left].0;
                session.expect(question).unwrap_or_else(|error| panic!("{command}: {question}: {error}"));
                session.send(key).unwrap();
                let (_, said) = end(session);
                let is_interrupted = said.contains("ended: 130\r\n");
                assert_eq!(is_interrupted, key == CTRL_C, "{command}: {question}: {key:?}: {said:?}");
                assert!(said.ends_with("as before\r\n"), "{command}: {question}: {key:?}: {said:?}");
            }
        }
    }
    assert_eq!(std::fs::read(device.snapshot()).unwrap(), before);
    for new in ["new", "made"] {
        assert!(!device.folder().join(new).exists(), "{new}");
    }
}

#[test]
fn a_review_can_be_suspended() {
    let pair = Pair::trusting();
    let mut session = shell(&pair.b);
    let key = pair.b.key_file();
    start(&mut session, &format!("sync a --at {} --review --snapshot vault --key-file {key}", pair.address));
    suspend_at(&mut session, "Do that? [y/N] ");
    session.send_line("y").unwrap();
    session.expect("received 4").unwrap();
    assert_as_before(&mut session);
    assert_eq!(pair.b.locations().len(), 4);
}

#[test]
fn a_request_that_a_person_is_asked_about_can_be_suspended() {
    let Pair { a, b, .. } = Pair::new();
    a.ok(&["grant", "b", "pull", "--select", "**", "--ask"]);
    b.ok(&["grant", "a", "push", "--select", "**"]);
    let mut session = shell(&a);
    let key = a.key_file();
    start(&mut session, &format!("serve --once --listen 127.0.0.1:0 --snapshot vault --key-file {key}"));
    session.expect("listening on ").unwrap();
    let address = session.expect(" as ").unwrap();
    let address = String::from_utf8_lossy(address.before()).into_owned();
    let sync = b.start(&["sync", "a", "--at", &address], b"");
    suspend_at(&mut session, "Allow it, within a minute? [y/N] ");
    session.send_line("y").unwrap();
    let done = sync.end();
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert_eq!(b.locations().len(), 4);
    assert_as_before(&mut session);
}

#[test]
fn a_pairing_can_be_suspended_at_each_question_on_both_sides() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    let (key_a, key_b) = (a.key_file(), b.key_file());
    let (mut listening, mut joining) = (shell(&a), shell(&b));
    let before = |session: &mut OsSession, text: &str| {
        String::from_utf8_lossy(session.expect(text).unwrap().before()).into_owned()
    };
    start(&mut listening, &format!("pair --listen 127.0.0.1:0 --snapshot vault --key-file {key_a}"));
    listening.expect("code: ").unwrap();
    let code = before(&mut listening, "\r\n");
    listening.expect("stronghold pair --join ").unwrap();
    let address = before(&mut listening, "\r\n");
    start(&mut joining, &format!("pair --join {address} --snapshot vault --key-file {key_b}"));
    suspend_at(&mut joining, "Code or link: ");
    joining.send_line(&code).unwrap();
    let question = "Does the other screen show the same two? [y/N] ";
    for session in [&mut joining, &mut listening] {
        suspend_at(session, question);
        session.send_line("y").unwrap();
    }
    for session in [&mut joining, &mut listening] {
        session.expect("paired with ").unwrap();
        assert_as_before(session);
    }
    for device in [&a, &b] {
        assert_eq!(device.json(&["peers"])["peers"].as_array().unwrap().len(), 1);
    }
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
