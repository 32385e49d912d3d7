//! Tests programs and templates that are given secrets.
#![cfg(unix)]

use crate::common::{self, Device, Ended, NOT_FOUND, STORAGE, USAGE, stronghold};

fn filled() -> Device {
    let device = Device::new("a");
    device.put("work/ci/token", "s3cret = 'x'");
    device.put("work/ci/user name", "me");
    device
}

/// Runs a program with these variables.
fn ran(device: &Device, env: &[&str], command: &[&str], stdin: &[u8]) -> Ended {
    let mut run = stronghold();
    run.args(["run", "--snapshot"]).arg(device.snapshot()).args(["--key-file", &device.key_file()]);
    env.iter().for_each(|pair| _ = run.args(["--env", pair]));
    run.arg("--").args(command).current_dir(device.folder());
    common::run(&mut run, stdin)
}

#[test]
fn a_program_gets_values_and_gives_its_output_and_exit_code() {
    let device = filled();
    let shell = "printf '%s|%s|%s' \"$TOKEN\" \"$USER_NAME\" \"$1\"; read line; echo \"|$line\"; exit 7";
    let env = ["TOKEN=work/ci/token", "USER_NAME=work/ci/user name"];
    let done = ran(&device, &env, &["sh", "-c", shell, "sh", "--quiet"], b"input\n");
    assert_eq!((done.exit, done.stderr.as_str()), (7, ""));
    assert_eq!(done.stdout, b"s3cret = 'x'|me|--quiet|input\n");
}

#[test]
fn nothing_runs_unless_all_records_were_read() {
    let device = filled();
    device.ok_with(&["put", "work/ci/binary"], b"\xff\x00");
    let trace = device.folder().join("ran");
    let fails = |env: &str, exit: i32| {
        let done = ran(&device, &["A=work/ci/token", env], &["touch", trace.to_str().unwrap()], b"");
        assert!(done.exit == exit && done.stdout.is_empty() && !trace.exists(), "{env}: {}", done.stderr);
        done.stderr
    };
    assert!(fails("B=work/ci/none", NOT_FOUND).contains("no record at work/ci/none"));
    assert!(fails("B=work/ci/binary", USAGE).contains("the value of work/ci/binary is no text"));
    for env in ["B", "=work/ci/token", "", "B=work"] {
        fails(env, USAGE);
    }
    let of = |env: &[&str], command: &[&str]| ran(&device, env, command, b"");
    assert_eq!(of(&[], &["touch", "x"]).exit, USAGE);
    assert_eq!(of(&["A=work/ci/token"], &[]).exit, USAGE);
    let missing = of(&["A=work/ci/token"], &["./no\u{1b}such"]);
    assert!(missing.exit == NOT_FOUND && missing.stderr.contains("no\\u{1b}such"), "{}", missing.stderr);
    assert_eq!(of(&["A=work/ci/token"], &[device.folder().to_str().unwrap()]).exit, STORAGE);
}

#[test]
fn a_template_is_filled_byte_for_byte_or_not_printed() {
    let device = filled();
    device.ok_with(&["put", "work/ci/binary"], b"\xff\x00{{ stronghold:work/ci/token }}");
    let template = "{{ other }}\ntoken: {{ stronghold:work/ci/token }}\n{{stronghold:work/ci/user name}}";
    let done = device.run(&["inject"], template.as_bytes());
    assert_eq!((done.exit, done.stderr.as_str()), (0, ""));
    assert_eq!(done.stdout, b"{{ other }}\ntoken: s3cret = 'x'\nme");
    let file = device.file("template", b"<{{ stronghold:work/ci/binary }}>");
    let done = device.run(&["inject", &file], b"");
    assert_eq!(done.stdout, b"<\xff\x00{{ stronghold:work/ci/token }}>", "a value is no template");
    for (template, exit, message) in [
        (&b"a\n{{ stronghold:work/ci/none }}"[..], NOT_FOUND, "no record at work/ci/none"),
        (b"{{ stronghold:work/ci/token }}\n{{ stronghold:work", USAGE, "line 2: a reference does not end"),
        (b"{{ stronghold:work }}", USAGE, "line 1: work: a location is CLIENT/VAULT/RECORD"),
        (b"\xff", USAGE, "- is no text"),
    ] {
        let done = device.run(&["inject"], template);
        assert_eq!((done.exit, done.stdout.len()), (exit, 0), "{}", done.stderr);
        assert!(done.stderr.contains(message), "{}", done.stderr);
    }
    device.fails(&["inject", "no/such"], NOT_FOUND);
}

#[test]
fn a_conflict_is_told_and_the_latest_value_given() {
    let (a, b) = crate::common::paired();
    crate::common::trust_each_other((&a, "a"), (&b, "b"));
    a.put("s/v/r", "of a");
    std::thread::sleep(std::time::Duration::from_millis(5));
    b.put("s/v/r", "of b");
    let (_serving, address) = a.serve();
    b.ok(&["sync", "a", "--at", &address]);
    let run = ran(&b, &["R=s/v/r"], &["sh", "-c", "printf %s \"$R\""], b"");
    for done in [run, b.run(&["inject"], b"{{ stronghold:s/v/r }}")] {
        assert_eq!((done.exit, done.stdout.as_slice()), (0, &b"of b"[..]), "{}", done.stderr);
        assert!(done.stderr.contains("s/v/r is in conflict"), "{}", done.stderr);
    }
}
