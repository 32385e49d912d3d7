//! Tests the command at a terminal: hidden prompts, a newline after a value, and confirmation of a
//! peer's request.
#![cfg(unix)]

use std::{fs, thread, time::Duration};

use crate::common::{
    DECISION, DENIED, Device, Pair, USAGE, WRONG_KEY, at_terminal, end, program, redirected,
};
use expectrl::{Expect, Session, session::OsSession};

#[test]
fn a_new_passphrase_is_asked_for_twice_and_never_shown() {
    let device = Device::without_snapshot();
    let init = |second: &str| {
        let mut session = at_terminal(&device, &["init"]);
        session.expect("New passphrase for ").unwrap();
        session.expect("(Enter: a generated one): ").unwrap();
        session.send_line("correct horse").unwrap();
        session.expect("strength: ").unwrap();
        let shown = session.expect("Once more: ").unwrap();
        assert!(!String::from_utf8_lossy(shown.before()).contains("correct"));
        session.send_line(second).unwrap();
        end(session)
    };
    let (exit, said) = init("correct house");
    assert!(
        exit == 2 && said.contains("the two passphrases differ") && !device.snapshot().exists(),
        "{said}"
    );
    let (exit, said) = init("correct horse");
    assert!(exit == 0 && said.contains("created ") && !said.contains("horse"), "{said}");
    device.unlock_by("--passphrase-file", "passphrase", b"correct horse");
    device.ok(&["verify"]);
}

#[test]
fn a_generated_passphrase_is_offered_and_opens_the_file() {
    let device = Device::without_snapshot();
    let mut session = at_terminal(&device, &["init"]);
    session.expect("(Enter: a generated one): ").unwrap();
    session.send_line("").unwrap();
    session.expect("\r\n").unwrap();
    let refused = until(&mut session, "\r\nWrite it down");
    session.expect("Is it written down? [y/N] ").unwrap();
    session.send_line("n").unwrap();
    session.expect("(Enter: a generated one): ").unwrap();
    session.send_line("").unwrap();
    session.expect("\r\n").unwrap();
    let taken = until(&mut session, "\r\nWrite it down");
    session.expect("Is it written down? [y/N] ").unwrap();
    session.send_line("y").unwrap();
    assert_eq!(end(session).0, 0);
    assert!(refused != taken && taken.split('-').count() >= 6, "{taken}");
    device.unlock_by("--passphrase-file", "passphrase", taken.as_bytes());
    device.ok(&["verify"]);
}

#[test]
fn a_passphrase_is_asked_for_three_times() {
    let device = Device::with_passphrase("a", "correct horse");
    for (wrong, exit) in [(2, 0), (3, WRONG_KEY)] {
        let mut session = at_terminal(&device, &["list"]);
        for number in 0..wrong {
            session.expect("vault: ").unwrap();
            session.send_line("correct house").unwrap();
            if number < 2 {
                session.expect("wrong passphrase; try again").unwrap();
            }
        }
        if exit == 0 {
            session.expect("vault: ").unwrap();
            session.send_line("correct horse").unwrap();
        }
        assert_eq!(end(session).0, exit, "{wrong}");
    }
}

#[test]
fn a_value_typed_differently_the_second_time_is_not_written() {
    let device = Device::new("a");
    let mut session = at_terminal(&device, &["put", "s/v/r", "--key-file", &device.key_file()]);
    session.expect("Value for s/v/r: ").unwrap();
    session.send_line("typed").unwrap();
    session.expect("Once more: ").unwrap();
    session.send_line("tyepd").unwrap();
    let (exit, said) = end(session);
    assert!(exit == USAGE && said.contains("the two values differ"), "{said}");
    device.is_absent("s/v/r");
}

#[test]
fn a_value_is_prompted_for_and_printed_with_a_newline() {
    let device = Device::new("a");
    let key = device.key_file();
    let mut session = at_terminal(&device, &["put", "s/v/r", "--key-file", &key]);
    session.expect("Value for s/v/r: ").unwrap();
    session.send_line("typed").unwrap();
    session.expect("Once more: ").unwrap();
    session.send_line("typed").unwrap();
    let (exit, said) = end(session);
    assert!(exit == 0 && !said.contains("typed"), "{said}");
    assert_eq!(device.get("s/v/r"), "typed");
    assert_eq!(end(at_terminal(&device, &["get", "s/v/r", "--key-file", &key])), (0, "typed\r\n".into()));
}

#[test]
fn an_empty_value_is_asked_about_at_a_terminal() {
    let device = Device::new("a");
    device.put("s/v/r", "before");
    let key = device.key_file();
    for (answer, exit, after) in [("n", DECISION, "before"), ("", DECISION, "before"), ("y", 0, "")] {
        let mut session = at_terminal(&device, &["put", "s/v/r", "--key-file", &key]);
        session.expect("Value for s/v/r: ").unwrap();
        session.send_line("").unwrap();
        session.expect("The value is empty. Write nothing to s/v/r? [y/N] ").unwrap();
        session.send_line(answer).unwrap();
        let (code, said) = end(session);
        assert_eq!((code, device.get("s/v/r").as_str()), (exit, after), "{said}");
    }
    // With `--yes` there is no question.
    let mut session = at_terminal(&device, &["put", "s/v/r", "--yes", "--key-file", &key]);
    session.expect("Value for s/v/r: ").unwrap();
    session.send_line("").unwrap();
    assert_eq!(end(session).0, 0);
}

#[test]
fn the_end_of_the_input_is_told_from_having_no_terminal() {
    let device = Device::with_passphrase("a", "correct horse");
    let mut session = at_terminal(&device, &["list"]);
    session.expect("vault: ").unwrap();
    session.send("\u{4}").unwrap();
    let (exit, said) = end(session);
    assert!(exit == USAGE && said.contains("the input was ended (Ctrl-D)"), "{said}");
    // Ctrl-D after some text does not end the input: the line is still there.
    let mut session = at_terminal(&device, &["list"]);
    session.expect("vault: ").unwrap();
    session.send("correct \u{4}horse\r").unwrap();
    assert_eq!(end(session).0, 0);
}

#[test]
fn the_keys_of_a_line_do_what_they_do_elsewhere() {
    let device = Device::new("a");
    let key = device.key_file();
    for (typed, value) in [
        ("one\u{7f}\u{7f}ther\r", "other"),
        ("né\u{7f}\u{8}m鍵\u{7f}e\n", "me"),
        ("nothing of this\u{15}that\r", "that"),
        ("two words\u{17}letters\r", "two letters"),
        ("up\u{1b}[A and\u{1b}[1;5C \u{1b}OHdown\u{1}\r", "up and down"),
        ("tab\tstays\r", "tab\tstays"),
        (&format!("{}\r", "long".repeat(2000)), &"long".repeat(2000)),
    ] {
        let mut session = at_terminal(&device, &["put", "s/v/r", "--key-file", &key]);
        session.expect("Value for s/v/r: ").unwrap();
        session.send(typed).unwrap();
        let first = until(&mut session, "Once more: ");
        session.send(typed).unwrap();
        let (exit, said) = end(session);
        let said = first + &said.replace("wrote s/v/r", "");
        let said = said.split("replaced").next().unwrap();
        assert!(exit == 0 && said.trim_matches(['\r', '\n', '\u{7}']).is_empty(), "{typed:?}: {said:?}");
        assert_eq!(device.get("s/v/r"), value, "{typed:?}");
    }
}

#[test]
fn what_was_typed_wrongly_does_not_drive_the_terminal() {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    let title = "\u{1b}]0;title\u{7}";
    for args in [
        &[title][..],
        &["get", title],
        &["list", &format!("--{title}")],
        &["get", "a/b/c", "--revision", title],
    ] {
        let (exit, said) = end(at_terminal(&device, &[args, &["--key-file", &device.key_file()]].concat()));
        assert!(exit != 0 && said.contains("title") && !said.contains("\u{1b}]"), "{args:?}: {said:?}");
    }
}

/// Starts a shell with job control, which keeps the terminal settings that its commands leave.
pub(crate) fn shell(device: &Device) -> OsSession {
    let mut shell = std::process::Command::new("sh");
    shell.arg("-i").current_dir(device.folder()).env("PS1", "").env("STRONGHOLD", program());
    shell.env("XDG_STATE_HOME", device.folder().join("state")).env_remove("STRONGHOLD_PASSPHRASE_FILE");
    let mut session = Session::spawn(shell).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    session.send_line("stty echo; stty -g > before; echo re''ady").unwrap();
    session.expect("ready").unwrap();
    session
}

/// Checks that the terminal settings are those from the start of the shell. A shell may drop a line
/// that comes while it notices that a command has ended: then it is sent again.
#[track_caller]
pub(crate) fn assert_as_before(session: &mut OsSession) {
    let mut answer = Err(expectrl::Error::ExpectTimeout);
    session.set_expect_timeout(Some(Duration::from_secs(10)));
    for number in 0..6 {
        let line = format!("stty -g | cmp - before && echo as''-before {number} || echo oth''er {number}");
        session.send_line(line).unwrap();
        answer = session.expect(expectrl::Regex(&format!("as-before {number}|other {number}")));
        if answer.is_ok() {
            break;
        }
    }
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    let answer = answer.unwrap_or_else(|error| {
        let shown = session.check(expectrl::Regex("(?s).+")).map(|shown| shown.as_bytes().to_vec());
        panic!("{error}: {:?}", String::from_utf8_lossy(&shown.unwrap_or_default()))
    });
    let answer = String::from_utf8_lossy(answer.as_bytes());
    assert!(answer.contains("as-before"), "{answer:?}");
}

#[test]
fn a_command_that_asks_can_be_suspended_and_goes_on() {
    let device = Device::with_passphrase("a", "correct horse");
    device.put("a/b/c", "value");
    let mut session = shell(&device);
    session.send_line("\"$STRONGHOLD\" get a/b/c --snapshot vault").unwrap();
    session.expect("vault: ").unwrap();
    session.send("wrong\u{1a}").unwrap();
    session.expect("Stopped").unwrap();
    assert_as_before(&mut session);
    session.send_line("fg").unwrap();
    session.expect("vault: ").unwrap();
    session.send("correct horse\r").unwrap();
    session.expect("value").unwrap();
    assert_as_before(&mut session);
}

#[test]
fn a_prompt_that_is_left_leaves_the_terminal_as_it_was() {
    let device = Device::with_passphrase("a", "correct horse");
    for key in ["\u{3}", "\u{1c}", "\u{4}", "wrong\rwrong\rwrong\r"] {
        let mut session = shell(&device);
        session.send_line("\"$STRONGHOLD\" list --snapshot vault").unwrap();
        session.expect("vault: ").unwrap();
        session.send(key).unwrap();
        assert_as_before(&mut session);
    }
}

#[test]
fn a_value_that_would_drive_the_terminal_is_not_sent_to_one() {
    let device = Device::new("a");
    let key = device.key_file();
    let value = b"\x1b]0;title\x07\xc2\x9b1m \xe2\x80\xae";
    assert_eq!(device.run(&["put", "s/v/r"], value).exit, 0);
    let get =
        |args: &[&str]| end(at_terminal(&device, &[&["get", "s/v/r", "--key-file", &key], args].concat()));
    let (exit, said) = get(&[]);
    assert!(exit == DECISION && !said.contains('\u{1b}') && !said.contains('\u{9b}'), "{said:?}");
    assert!(said.contains("--raw") && said.contains("nothing was printed"), "{said}");
    let (exit, said) = get(&["--json"]);
    let hidden = ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'];
    assert!(
        exit == 0 && !said.contains(hidden) && said.contains("\\u001b]0;title\\u0007\\u009b1m \\u202e"),
        "{said:?}"
    );
    let (exit, said) = get(&["--raw"]);
    assert!(exit == 0 && said.as_bytes().starts_with(value), "{said:?}");
    assert_eq!(device.run(&["get", "s/v/r"], b"").stdout, value, "what is redirected is exact");
    // Harmless text is printed unchanged.
    device.put("s/v/r", "two\nlines\tand Grüße 👩\u{200d}🔧");
    assert_eq!(get(&[]), (0, "two\r\nlines\tand Grüße 👩\u{200d}🔧\r\n".into()));
}

#[test]
fn a_person_says_yes_or_no_to_a_request() {
    for (answer, exit) in [("y", 0), ("n", DENIED), ("", DENIED)] {
        let Pair { a, b, .. } = Pair::new();
        a.ok(&["grant", "b", "pull", "--select", "**", "--ask"]);
        b.ok(&["grant", "a", "push", "--select", "**"]);
        let key = a.key_file();
        let mut serving =
            at_terminal(&a, &["serve", "--once", "--listen", "127.0.0.1:0", "--key-file", &key]);
        serving.expect("listening on ").unwrap();
        let address = serving.expect(" as ").unwrap();
        let address = String::from_utf8_lossy(address.before()).into_owned();
        let sync = b.start(&["sync", "a", "--at", &address], b"");
        serving.expect("wants to pull on **").unwrap();
        serving.expect("Allow it, within a minute? [y/N] ").unwrap();
        serving.send_line(answer).unwrap();
        let done = sync.end();
        assert_eq!(done.exit, exit, "{answer:?}: {}", done.stderr);
        assert_eq!(b.locations().len(), if exit == 0 { 4 } else { 0 });
        end(serving);
    }
}

/// The one who waits sees that a person is asked, and where; and what to do if there is no yes.
#[test]
fn the_asking_side_sees_that_a_person_is_asked() {
    let Pair { a, b, .. } = Pair::new();
    a.ok(&["grant", "b", "pull", "--select", "**", "--ask"]);
    b.ok(&["grant", "a", "push", "--select", "**"]);
    let (key_a, key_b) = (a.key_file(), b.key_file());
    for (args, answer, exit) in [
        (&["sync"][..], "n", DENIED),
        (&["fetch", "a", "wallet/web/mail"], "", DENIED),
        (&["sync", "a"], "y", 0),
    ] {
        let serve = ["serve", "--once", "--listen", "127.0.0.1:0", "--key-file", &key_a];
        let mut serving = at_terminal(&a, &serve);
        serving.expect("listening on ").unwrap();
        let address = until(&mut serving, " as ");
        let mut asking = at_terminal(&b, &[args, &["--at", &address, "--key-file", &key_b]].concat());
        serving.expect("Allow it, within a minute? [y/N] ").unwrap();
        asking.expect("waiting: a person is asked on a ").unwrap();
        serving.send_line(answer).unwrap();
        let (code, said) = end(asking);
        assert_eq!(code, exit, "{said}");
        let hint =
            "hint: a rule there asks a person, and nobody said yes in time: speak with them, and try again";
        assert_eq!(said.contains(hint), exit == DENIED, "{said}");
        end(serving);
    }
}

#[test]
fn a_sync_is_reviewed_before_it_is_done() {
    let pair = Pair::trusting();
    let key = pair.b.key_file();
    for (answer, exit, records) in [("n", DECISION, 0), ("y", 0, 4)] {
        let args = pair.at(&["sync", "a", "--review", "--key-file", &key]);
        let mut session = at_terminal(&pair.b, &args);
        let shown = until(&mut session, "Do that? [y/N] ");
        assert!(shown.contains("would have received 4") && shown.contains("+ wallet/web/mail"), "{shown}");
        session.send_line(answer).unwrap();
        assert_eq!(end(session).0, exit);
        assert_eq!(pair.b.locations().len(), records);
    }
}

const QUESTION: &str = "Does the other screen show the same two? [y/N] ";

/// Returns the output of a session up to `text`.
fn until(session: &mut OsSession, text: &str) -> String {
    String::from_utf8_lossy(session.expect(text).unwrap().before()).into_owned()
}

#[test]
fn both_persons_confirm_a_pairing_and_either_may_decline() {
    for (joiner_says, listener_says, agreed) in [("y", "y", true), ("n", "y", false), ("y", "n", false)] {
        let (a, b) = (Device::new("a"), Device::new("b"));
        let (key_a, key_b) = (a.key_file(), b.key_file());
        let mut listening = at_terminal(&a, &["pair", "--listen", "127.0.0.1:0", "--key-file", &key_a]);
        until(&mut listening, "code: ");
        let code = until(&mut listening, "\r\n");
        until(&mut listening, "stronghold pair --join ");
        let address = until(&mut listening, "\r\n");
        let mut joining = at_terminal(&b, &["pair", "--join", &address, "--key-file", &key_b]);
        until(&mut joining, "Code or link: ");
        joining.send_line(&code).unwrap();
        let shown = until(&mut joining, QUESTION);
        assert!(!shown.contains(&code), "the code is not shown where it is typed: {shown}");
        let seen = until(&mut listening, QUESTION);
        // Both screens show the same two fingerprints, each with its own device first.
        let prints = |text: &str| -> Vec<String> {
            let lines = text
                .lines()
                .filter(|line| line.starts_with("this device:") || line.starts_with("the other:"));
            lines.filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned)).collect()
        };
        let (mut here, there) = (prints(&shown), prints(&seen));
        here.reverse();
        assert!(here.len() == 2 && here == there, "{shown} {seen}");
        joining.send_line(joiner_says).unwrap();
        listening.send_line(listener_says).unwrap();
        let ends = [end(joining), end(listening)];
        for (exit, said) in &ends {
            assert_eq!((*exit == 0, said.contains("declined")), (agreed, !agreed), "{said}");
        }
        let known = [&a, &b].map(|device| device.json(&["peers"])["peers"].as_array().unwrap().len());
        assert_eq!(known, [usize::from(agreed); 2]);
    }
}

/// Waits for a whole line with this beginning in a file; returns the file's text.
fn written(device: &Device, file: &str, beginning: &str) -> String {
    for _ in 0..600 {
        let text = fs::read_to_string(device.folder().join(file)).unwrap_or_default();
        let line =
            text.split_inclusive('\n').find(|line| line.starts_with(beginning) && line.ends_with('\n'));
        if let Some(line) = line {
            return line.trim_end().to_owned();
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("no line {beginning} in {file}");
}

/// Pairing asks on the terminal, if there is one, whatever streams are redirected, and with
/// `--json` too: it neither pairs nor grants without an answer.
#[test]
fn a_pairing_asks_on_the_terminal_whatever_is_redirected() {
    let rules = ["--grant", "pull", "push", "delete"];
    for (json, says) in [(false, ["y", "y"]), (false, ["n", "y"]), (true, ["y", "n"]), (true, ["y", "y"])] {
        let (a, b) = (Device::new("a"), Device::new("b"));
        let form: &[&str] = if json { &["--json"] } else { &[] };
        let listen = [&["pair", "--listen", "127.0.0.1:0"], form, &rules].concat();
        let mut listening = redirected(&a, &listen, "</dev/null >out 2>log");
        let (code, address) = match json {
            true => {
                let event: serde_json::Value = serde_json::from_str(&written(&a, "out", "{")).unwrap();
                let text = |field: &str| event[field].as_str().unwrap().to_owned();
                (text("code"), text("address"))
            }
            false => {
                let line = written(&a, "out", "on the other device");
                let code = written(&a, "out", "code: ").split_off("code: ".len());
                (code, line.rsplit(' ').next().unwrap().to_owned())
            }
        };
        fs::write(b.folder().join("code"), code).unwrap();
        let join = [&["pair", "--join", &address], form, &rules].concat();
        let mut joining = redirected(&b, &join, if json { "<code 2>log" } else { "<code >out 2>log" });
        for (session, says) in [&mut joining, &mut listening].into_iter().zip(says) {
            if let Err(error) = session.expect(QUESTION) {
                let logs = [&a, &b].map(|device| fs::read_to_string(device.folder().join("log")).unwrap());
                panic!("{error}: {logs:?}");
            }
            for device in [&a, &b] {
                assert_eq!(device.json(&["peers"])["peers"].as_array().unwrap().len(), 0, "before a word");
            }
            session.send_line(says).unwrap();
        }
        let agreed = says == ["y", "y"];
        for session in [joining, listening] {
            assert_eq!(end(session).0 == 0, agreed, "{says:?}");
        }
        for device in [&a, &b] {
            let peers = device.json(&["peers"])["peers"].take();
            let granted: Vec<_> =
                peers.as_array().unwrap().iter().map(|peer| peer["rules"].clone()).collect();
            assert_eq!(granted.len(), usize::from(agreed));
            assert!(granted.iter().all(|rules| !rules.as_array().unwrap().is_empty()), "{granted:?}");
        }
    }
}

#[test]
fn a_wait_for_another_writer_is_shown_until_it_is_over() {
    let device = Device::new("own");
    let lock = fs::File::options().append(true).open(device.folder().join(".vault.lock")).unwrap();
    lock.lock().unwrap();
    let mut session = redirected(&device, &["put", "a/b/c", "--generate"], "");
    session.expect("another process writes to the snapshot, ").unwrap();
    session.expect(" s left").unwrap();
    drop(lock);
    let (exit, shown) = end(session);
    assert!(exit == 0 && shown.ends_with("wrote a/b/c\r\n"), "{shown}");
}
