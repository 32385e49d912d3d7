//! Tests the sources of secrets: files, descriptors, stdin and the environment, in the formats of
//! many programs and systems, and endless ones.
#![cfg(unix)]

use std::{fs, process::Command};

use crate::common::{
    DECISION, Device, Ended, NOT_FOUND, USAGE, WRONG_KEY, program, raw_key, run, stronghold,
};
use stronghold_snapshot::{NewSlot, PassphraseCost, VaultFile};
use stronghold_vault::Stronghold;

const MAX_VALUE: usize = 4 << 20;
const MAX_PASSPHRASE: usize = 4096;

fn with_a_record() -> Device {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    device
}

fn under_a_passphrase() -> Device {
    let device = Device::with_passphrase("a", "correct horse");
    device.put("a/b/c", "value");
    device
}

/// Builds a command on this device without a key or passphrase.
fn locked(device: &Device, args: &[&str]) -> Command {
    let mut command = stronghold();
    command.args(args).arg("--snapshot").arg(device.snapshot()).current_dir(device.folder());
    command
}

/// Runs a bash script, with `s` as the command on this device, redirections and pipes, and little
/// memory.
fn script(device: &Device, script: &str) -> Ended {
    let mut bash = Command::new("bash");
    let prelude =
        "ulimit -v 4000000; s() { timeout 30 \"$STRONGHOLD\" \"$@\" --snapshot vault; }; set -o pipefail";
    bash.arg("-c").arg(format!("{prelude}\n{script}")).current_dir(device.folder());
    bash.env("STRONGHOLD", program()).env("XDG_STATE_HOME", device.folder().join("state"));
    bash.env_remove("STRONGHOLD_PASSPHRASE_FILE").env_remove("STRONGHOLD_SNAPSHOT");
    run(&mut bash, b"")
}

#[test]
fn what_has_no_end_is_refused_at_a_limit() {
    let device = with_a_record();
    let key = device.key_file();
    for (command, says) in [
        (&["put", "a/b/c", "--file", "/dev/zero"][..], "the value is too large"),
        (&["import", "--format", "csv", "/dev/zero"], "/dev/zero is larger than 16777216 bytes"),
        (&["merge", "vault", "--other-passphrase-file", "/dev/zero"], "the passphrase is too long"),
        (&["merge", "vault", "--other-key-file", "/dev/zero"], "not a key file: /dev/zero"),
        (&["passphrase", "--add", "--new-passphrase-file", "/dev/zero"], "the passphrase is too long"),
        (&["passphrase", "--add", "--new-key-file", "/dev/zero"], "not a key file: /dev/zero"),
        (&["export", "--output", "e", "--output-passphrase-file", "/dev/zero"], "the passphrase is too long"),
        (&["export", "--output", "e", "--output-key-file", "/dev/zero"], "not a key file: /dev/zero"),
    ] {
        let said = device.fails_cleanly(command, USAGE);
        assert!(said.contains(says), "{command:?}: {said}");
    }
    for (source, says) in [
        ("--passphrase-file /dev/zero", "the passphrase is too long"),
        ("--passphrase-fd 3 3</dev/zero", "the passphrase is too long"),
        ("--passphrase-fd 0 </dev/zero", "the passphrase is too long"),
        ("--passphrase-file - </dev/zero", "the passphrase is too long"),
        ("--passphrase-file <(yes | tr -d '\\n')", "the passphrase is too long"),
        ("--passphrase-file <(printf '\\377\\376'; cat /dev/zero)", "the passphrase is too long"),
        ("--key-file /dev/zero", "not a key file"),
        ("--key-file <(yes)", "not a key file"),
    ] {
        let done = script(&device, &format!("s list {source}"));
        assert!(done.exit == USAGE && done.stderr.contains(says), "{source}: {done:?}");
    }
    for (command, says) in [
        (format!("s put a/b/c --key-file {key} </dev/zero"), "the value is too large"),
        (format!("yes | s put a/b/c --key-file {key}"), "the value is too large"),
        (format!("s put a/b/c --file - --key-file {key} </dev/zero"), "the value is too large"),
        (format!("s import --format csv --key-file {key} <(yes '\"')"), "larger than"),
        (format!("s pair --join 127.0.0.1:1 --key-file {key} </dev/zero"), "code"),
    ] {
        let done = script(&device, &command);
        assert!(done.exit == USAGE && done.stderr.contains(says), "{command}: {done:?}");
    }
    assert_eq!(device.get("a/b/c"), "value");
}

#[test]
fn the_limits_themselves_are_within() {
    let device = with_a_record();
    let file = |len: usize| device.file("value", &vec![b'x'; len]);
    device.ok(&["put", "a/b/c", "--file", &file(MAX_VALUE)]);
    device.fails(&["put", "a/b/c", "--file", &file(MAX_VALUE + 1)], USAGE);
    let table = |len: usize| {
        let head = "Group,Title,Notes\n";
        let row = format!("g,t,{}\n", "n".repeat(MAX_VALUE - 5));
        let mut text = head.to_owned();
        while text.len() + row.len() <= len {
            text += &row;
        }
        let rest = len - text.len();
        if rest > 0 {
            text += &format!("g,t,{}\n", "n".repeat(rest - 5));
        }
        assert_eq!(text.len(), len);
        device.file("table", text.as_bytes())
    };
    device.ok(&["import", "--format", "csv", &table(16 << 20)]);
    assert!(device.fails(&["import", "--format", "csv", &table((16 << 20) + 1)], USAGE).contains("larger"));
    for (len, exit) in [(MAX_PASSPHRASE, WRONG_KEY), (MAX_PASSPHRASE + 1, USAGE)] {
        for end in ["", "\n", "\r\n", "\nmore"] {
            let passphrase = format!("{}{end}", "p".repeat(len));
            device.unlock_by("--passphrase-file", "passphrase", passphrase.as_bytes());
            device.fails(&["list"], exit);
        }
    }
}

#[test]
fn pipes_and_process_substitution_give_values_passphrases_keys_and_tables() {
    let device = under_a_passphrase();
    let key = device.file("raw", &raw_key(3));
    device.ok(&["passphrase", "--add", "--new-key-file", &key]);
    for opens in [
        "--passphrase-file <(echo correct horse)",
        "--passphrase-fd 3 3< <(echo correct horse; echo more)",
        "--passphrase-fd 0 < <(echo correct horse)",
        "--passphrase-fd 0 <<<'correct horse'",
        "--passphrase-file /dev/stdin <<<'correct horse'",
        "--passphrase-file - <<<'correct horse'",
        "--key-file <(cat raw)",
        "--key-file - < raw",
        "--passphrase-file fifo & echo 'correct horse' > fifo; wait $!",
    ] {
        script(&device, "rm -f fifo; mkfifo fifo");
        let done = script(&device, &format!("s get a/b/c {opens}"));
        assert!(done.exit == 0 && done.stdout == b"value", "{opens}: {done:?}");
    }
    for (puts, value) in [
        ("printf one | s put a/b/c --key-file raw", "one"),
        ("s put a/b/c --file <(printf two) --key-file raw", "two"),
        ("printf three | s put a/b/c --file - --key-file raw", "three"),
        ("printf four | s put a/b/c --file /dev/stdin --key-file raw", "four"),
        ("s put a/b/c --file - --passphrase-file <(echo correct horse) < <(printf five)", "five"),
        (
            "s import --format csv --into a <(printf 'Group,Title,Password\\nx,y,six\\n') --key-file raw >&2; s get a/x/y/password --key-file raw | s put a/b/c --key-file raw",
            "six",
        ),
    ] {
        let done = script(&device, puts);
        assert_eq!(done.exit, 0, "{puts}: {done:?}");
        device.unlock_by_file("--key-file", &device.folder().join("raw"));
        assert_eq!(device.get("a/b/c"), value, "{puts}");
    }
}

#[test]
fn stdin_gives_a_passphrase_its_first_line_and_a_value_the_rest() {
    let device = under_a_passphrase();
    for (input, option, value) in [
        (&b"correct horse\nVALUE"[..], ["--passphrase-fd", "0"], &b"VALUE"[..]),
        (b"correct horse\r\nVALUE\n\n", ["--passphrase-file", "-"], b"VALUE\n\n"),
        (b"\xef\xbb\xbfcorrect horse\n\0\xff", ["--passphrase-file", "/dev/stdin"], b"\0\xff"),
    ] {
        let done = run(locked(&device, &["put", "a/b/c"]).args(option), input);
        assert_eq!(done.exit, 0, "{}", done.stderr);
        assert_eq!(device.run(&["get", "a/b/c"], b"").stdout, value);
    }
    // No value is left after the passphrase, which counts as an empty value.
    let done = run(locked(&device, &["put", "a/b/c"]).args(["--passphrase-fd", "0"]), b"correct horse");
    assert!(done.exit == DECISION && done.stderr.contains("is empty"), "{}", done.stderr);
    let nothing = device.file("nothing", b"");
    let done = run(
        locked(&device, &["put", "a/b/c"]).args(["--passphrase-fd", "0", "--file", &nothing]),
        b"correct horse\n",
    );
    assert_eq!(done.exit, DECISION, "{}", done.stderr);
}

#[test]
fn stdin_is_not_read_twice() {
    let device = under_a_passphrase();
    let before = device.files();
    for args in [
        &["put", "a/b/d", "--key-file", "-"][..],
        &["put", "a/b/d", "--file", "-", "--key-file", "/dev/stdin"],
        &["import", "-", "--format", "kdbx", "--source-key-file", "-"],
        &["merge", "vault", "--passphrase-fd", "0", "--other-passphrase-file", "-"],
        &["merge", "vault", "--passphrase-file", "-", "--other-passphrase-file", "/dev/fd/0"],
        &["passphrase", "--passphrase-fd", "0", "--new-passphrase-file", "-"],
        &["export", "--output", "e", "--passphrase-fd", "0", "--output-passphrase-file", "/dev/stdin"],
    ] {
        device.file("raw", &raw_key(3));
        let input = if args.contains(&"--key-file") {
            raw_key(3).to_vec()
        } else {
            b"correct horse\nmore\n".to_vec()
        };
        let done = run(&mut locked(&device, args), &input);
        let wrong_key = done.exit == WRONG_KEY && args.contains(&"--key-file");
        assert!(
            done.exit == USAGE && done.stderr.contains("stdin can't be read twice") || wrong_key,
            "{args:?}: {done:?}"
        );
    }
    fs::remove_file(device.folder().join("raw")).unwrap();
    assert!(before == device.files());
}

#[test]
fn a_passphrase_is_one_whatever_program_saved_it() {
    let utf16 = |text: &str, unit: fn(u16) -> [u8; 2]| {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect::<Vec<u8>>()
    };
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    let saved = |text: &str| {
        [
            format!("{text}\n").into_bytes(),
            format!("{text}\r\n").into_bytes(),
            format!("\u{feff}{text}\r\n").into_bytes(),
            utf16(&format!("{text}\r\n"), u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ]
    };
    for sealed in [&saved(composed)[0], &saved(decomposed)[3]] {
        let device = Device::without_snapshot();
        device.unlock_by("--passphrase-file", "passphrase", sealed);
        device.ok(&["init"]);
        for opening in [saved(composed), saved(decomposed)].concat() {
            device.unlock_by("--passphrase-file", "passphrase", &opening);
            device.ok(&["list"]);
        }
        for wrong in ["cafe", "caf\u{e9} ", "CAF\u{c9}"] {
            device.unlock_by("--passphrase-file", "passphrase", wrong.as_bytes());
            device.fails(&["list"], WRONG_KEY);
        }
    }
}

#[test]
fn a_passphrase_that_seals_byte_for_byte_opens_so_too() {
    let device = Device::without_snapshot();
    let sealed = "cafe\u{301}".as_bytes();
    let slot = NewSlot::Passphrase { passphrase: sealed, cost: PassphraseCost::default() };
    VaultFile::create(&device.snapshot(), &[slot], Stronghold::new("other").unwrap()).unwrap();
    device.unlock_by("--passphrase-file", "passphrase", sealed);
    device.put("a/b/c", "value");
    device.unlock_by("--passphrase-file", "composed", "caf\u{e9}".as_bytes());
    device.fails(&["list"], WRONG_KEY);
    // The passphrase that matched is the one that is replaced.
    device.unlock_by("--passphrase-file", "passphrase", sealed);
    let new = device.file("new", b"new");
    device.ok(&["passphrase", "--new-passphrase-file", &new]);
    device.fails(&["list"], WRONG_KEY);
    device.unlock_by("--passphrase-file", "new", b"new");
    assert_eq!(device.get("a/b/c"), "value");
}

/// A file that was made with more memory than is usual is opened when that is said.
#[test]
fn what_costs_more_than_is_usual_is_paid_when_it_is_said() {
    let device = Device::without_snapshot();
    device.unlock_by("--passphrase-file", "passphrase", b"other");
    let cost = PassphraseCost::new((64 << 10) + 8, 1, 1).unwrap();
    let slot = NewSlot::Passphrase { passphrase: b"other", cost };
    VaultFile::create(&device.snapshot(), &[slot], Stronghold::new("other").unwrap()).unwrap();
    let said = device.fails_cleanly(&["list"], DECISION);
    assert!(said.contains("65 MiB of memory") && said.contains("--allow-costly"), "{said}");
    device.ok(&["list", "--allow-costly"]);
    device.ok(&["list"]); // what was paid once is noted
}

#[test]
fn a_passphrase_that_is_no_text_is_refused_when_it_is_made() {
    let device = Device::without_snapshot();
    for (bytes, says) in [
        (&b"p\0w\0"[..], "NUL"),
        (b"pass\0word\n", "NUL"),
        (&[0xff, 0xfe, 0, 0xd8, b'b', 0], "UTF-16"),
        (&[0xff, 0xfe, b'a', 0, b'b'], "UTF-16"),
        (&[0xff, 0xfe, 0, 0, b'a', 0, 0, 0], "NUL"),
        (b"\xef\xbb\xbf\n", "empty"),
    ] {
        device.unlock_by("--passphrase-file", "passphrase", bytes);
        let said = device.fails_cleanly(&["init"], USAGE);
        assert!(said.contains(says) && said.contains("nothing was changed"), "{said}");
    }
    // Text in an older encoding is accepted as bytes.
    device.unlock_by("--passphrase-file", "passphrase", b"caf\xe9\n");
    device.ok(&["init"]);
    device.ok(&["list"]);
}

#[test]
fn text_is_no_key_file() {
    let device = Device::without_snapshot();
    for bytes in [&b"correct horse battery staple 12\n"[..], &[b'x'; 32], &[0; 32], &[b'0'; 64]] {
        device.unlock_by("--key-file", "wrong", bytes);
        let said = device.fails_cleanly(&["init"], USAGE);
        assert!(said.contains("not a key file: ") && said.contains("head -c 32 /dev/urandom"), "{said}");
    }
}

#[test]
fn a_flag_beats_the_environment_and_an_empty_variable_is_none() {
    let device = with_a_record();
    let protected = under_a_passphrase();
    let (key, passphrase) = (device.key_file(), protected.key_file());
    let wrong = device.file("wrong", b"wrong");
    let get = |of: &Device, args: &[&str], environment: [(&str, &str); 2]| {
        run(
            stronghold().args(["get", "a/b/c"]).args(args).envs(environment).current_dir(of.folder()),
            b"correct horse\n",
        )
    };
    let of = |device: &Device| device.snapshot().to_str().unwrap().to_owned();
    for (of, args, snapshot, passphrase_file) in [
        (&device, &["--key-file", key.as_str()][..], of(&device), wrong.as_str()),
        (&device, &["--key-file", &key], of(&device), "/nowhere"),
        (&device, &["--key-file", &key], of(&device), ""),
        (&device, &["--key-file", &key, "--snapshot", "vault"], "/nowhere".into(), ""),
        (&device, &["--key-file", &key, "--snapshot", "vault"], String::new(), ""),
        (&protected, &["--passphrase-file", &passphrase], of(&protected), &wrong),
        (&protected, &["--passphrase-fd", "0"], of(&protected), &wrong),
        (&protected, &[], of(&protected), &passphrase),
    ] {
        let done = get(
            of,
            args,
            [("STRONGHOLD_SNAPSHOT", &snapshot), ("STRONGHOLD_PASSPHRASE_FILE", passphrase_file)],
        );
        assert!(done.exit == 0 && done.stdout == b"value", "{args:?} {snapshot} {passphrase_file}: {done:?}");
    }
    // An empty variable counts as unset: the default snapshot is used.
    let data = device.folder().join("data/stronghold");
    fs::create_dir_all(&data).unwrap();
    fs::copy(device.snapshot(), data.join("default.stronghold")).unwrap();
    let mut command = stronghold();
    command.args(["get", "a/b/c", "--key-file", &key]).env("STRONGHOLD_SNAPSHOT", "");
    command.env("XDG_DATA_HOME", device.folder().join("data"));
    assert_eq!(run(&mut command, b"").stdout, b"value");
    // Without an option, the environment applies.
    let done = get(
        &protected,
        &[],
        [("STRONGHOLD_SNAPSHOT", &of(&protected)), ("STRONGHOLD_PASSPHRASE_FILE", &wrong)],
    );
    assert_eq!(done.exit, WRONG_KEY, "{}", done.stderr);
    let empty = [("STRONGHOLD_LOG", "")];
    let done = run(
        stronghold()
            .args(["put", "a/b/c", "--snapshot", "vault", "--key-file", &key])
            .envs(empty)
            .current_dir(device.folder()),
        b"value",
    );
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert_eq!(
        run(locked(&device, &["list", "--passphrase-fd", "9"]).env("STRONGHOLD_SNAPSHOT", ""), b"").exit,
        NOT_FOUND
    );
}

#[test]
fn help_and_version_go_to_stdout_and_are_no_error() {
    for args in [&["--help"][..], &["help"], &["get", "--help"], &["--version"], &["help", "locations"]] {
        let done = crate::common::run(crate::common::stronghold().args(args), b"");
        assert_eq!((done.exit, done.stderr.as_str()), (0, ""), "{args:?}");
        assert!(!done.stdout.is_empty(), "{args:?}");
    }
    for topic in ["locations", "exit-codes", "devices"] {
        let of = |args: &[&str]| crate::common::run(crate::common::stronghold().args(args), b"").stdout;
        let text = String::from_utf8(of(&["help", topic])).unwrap();
        assert_eq!(text, String::from_utf8(of(&[topic])).unwrap(), "{topic}");
        assert!(text.contains("\n\n  ") && !text.contains("Usage"), "{text}");
    }
    let done = crate::common::run(&mut crate::common::stronghold(), b"");
    assert!(done.exit == USAGE && done.stdout.is_empty() && !done.stderr.is_empty(), "{done:?}");
}
