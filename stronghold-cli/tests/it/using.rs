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

/// Is the secret of RFC 6238, appendix B, in base32.
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

#[test]
fn a_one_time_password_is_that_of_a_record_or_of_a_logins_field() {
    let device = Device::new("a");
    device.put("i/web/shop/totp", &format!("otpauth://totp/Shop:anna?secret={SEED}&period=86400"));
    device.put("i/web/shop/password", "x");
    device.put("i/web/bare/otp", "gezd gnbv gy3t qojq gezd gnbv gy3t qojq");
    device.put("i/web/wide", &format!("otpauth://totp/x?secret={SEED}&period=86400&digits=8"));
    let of = |at: &str| device.ok(&["totp", at]);
    let is_code = |code: &str, digits: usize| {
        code.len() == digits + 1 && code.trim_end().bytes().all(|letter| letter.is_ascii_digit())
    };
    // A day ends within one of two rounds at most. Six digits are the last of eight.
    let is_one_code = |_| {
        let (code, wide) = (of("i/web/shop"), of("i/web/wide"));
        assert!(is_code(&code, 6) && is_code(&wide, 8), "{code:?}, {wide:?}");
        [of("i/web/shop/"), of("i/web/shop/totp"), wide[2..].to_owned()].iter().all(|other| *other == code)
    };
    assert!((0..2).any(is_one_code));
    assert!(is_code(&of("i/web/bare"), 6));
    let (exit, shown) = common::end(common::redirected(&device, &["totp", "i/web/shop"], ">code"));
    assert!(exit == 0 && shown.starts_with("valid for ") && shown.ends_with(" s\r\n"), "{shown}");
    assert!(is_code(&std::fs::read_to_string(device.folder().join("code")).unwrap(), 6));
    let told = device.json(&["totp", "i/web/shop"]);
    let seconds = told["seconds_left"].as_u64().unwrap();
    assert!((1..=86400).contains(&seconds) && told["location"] == "i/web/shop/totp", "{told}");
    assert!(is_code(&format!("{}\n", told["code"].as_str().unwrap()), 6), "{told}");
}

#[test]
fn a_value_that_gives_no_one_time_password_is_not_shown() {
    let device = Device::new("a");
    device.put("i/web/password", "hunter2!");
    device.ok_with(&["put", "i/web/binary"], b"\xff\x00");
    device.put("i/web/counter", &format!("otpauth://hotp/x?secret={SEED}&counter=1"));
    device.put("i/web/login/username", "me");
    let hint = "hint: store the otpauth:// address or the secret that the site shows\n";
    let unknown = "it is neither an otpauth:// address nor a base32 secret";
    for (record, why) in [
        ("password", unknown),
        ("binary", unknown),
        ("counter", "its passwords follow a counter (hotp), not the time"),
    ] {
        let said = device.fails_cleanly(&["totp", &format!("i/web/{record}")], USAGE);
        assert_eq!(said, format!("error: i/web/{record} gives no one-time password: {why}\n{hint}"));
    }
    device.fails_cleanly(&["totp", "i/web/none"], NOT_FOUND);
    let said = device.fails_cleanly(&["totp", "i/web/login"], NOT_FOUND);
    assert!(said.contains("there are records below it: `stronghold show 'i/web/login'`"), "{said}");
    device.fails_cleanly(&["totp", "i/web"], USAGE);
}

/// The rows are those of the standard's smallest codes: 21 modules and a margin of four.
#[test]
fn a_value_is_shown_as_a_qr_code_up_to_what_one_holds() {
    let device = Device::new("a");
    device.put("home/wifi/guests", "WIFI:S:x;;");
    let shown = device.ok(&["qr", "home/wifi/guests"]);
    let rows: Vec<&str> = shown.lines().collect();
    let is_drawn = |row: &&str| {
        row.chars().count() == 29 && row.chars().all(|block| " \u{2580}\u{2584}\u{2588}".contains(block))
    };
    assert!(rows.len() == 15 && rows.iter().all(is_drawn), "{shown}");
    let told = device.json(&["qr", "home/wifi/guests"]);
    let told: Vec<&str> = told["rows"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
    assert_eq!(told, rows);
    device.ok_with(&["put", "home/wifi/most"], &[0xff; 2953]);
    device.ok(&["qr", "home/wifi/most"]);
    device.ok_with(&["put", "home/wifi/more"], &[0xff; 2954]);
    let said = device.fails_cleanly(&["qr", "home/wifi/more"], USAGE);
    assert_eq!(
        said,
        "error: home/wifi/more has 2954 bytes, more than a QR code holds\n\
         hint: write it into a file: stronghold get --output FILE\n"
    );
    device.fails_cleanly(&["qr", "home/wifi/none"], NOT_FOUND);
}
