//! A canary through each command: a value, a passphrase, a one-time password's secret and an SSH
//! key are looked for in all places where they have no business, while each command runs and
//! afterwards. A command without a row here fails the test.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::common::{Device, Ended, Running, at_terminal_with, end, run, stronghold};

const VALUE: &str = "canary-value-0d41b7e5c2";
const PASSPHRASE: &str = "canary-passphrase-99af3e";
/// Base32, as the secrets of one-time passwords are.
const ONE_TIME: &str = "CANARYONETIMEPASSWORDSECRETABCDE";
const SSH_KEY: &str = include_str!("ssh-keys/ed");
/// The name and the text of each secret to look for. The middle of the key stands for it.
const SECRETS: [(&str, &str); 4] = [
    ("the value", VALUE),
    ("the passphrase", PASSPHRASE),
    ("the one-time secret", ONE_TIME),
    ("the key", SSH_KEY.split_at(200).1.split_at(40).0),
];
/// A part of a record's name, which may be shown, but not logged.
const NAME: &str = "canary-name-61e0";

/// Names and texts to look for.
type Secrets = [(&'static str, &'static str)];
/// A place where something was found that should not be there.
type Findings = Arc<Mutex<BTreeSet<String>>>;

/// Looks at all processes and at some folders, until dropped.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
    found: Findings,
}

impl Watch {
    /// Watches command lines and environments, and the files of these folders. `is_env_free` says
    /// that a program is given secrets in its environment.
    fn begin(folders: Vec<PathBuf>, is_env_free: bool) -> Self {
        let (stop, found) = (Arc::new(AtomicBool::new(false)), Findings::default());
        let (stopped, finds) = (Arc::clone(&stop), Arc::clone(&found));
        let thread = thread::spawn(move || {
            let mut rounds = 0;
            while !stopped.load(Relaxed) || rounds < 1 {
                look_at_processes(&SECRETS, &finds, is_env_free);
                folders.iter().for_each(|folder| look_into(folder, &finds));
                rounds += 1;
                thread::sleep(Duration::from_millis(1));
            }
            rounds
        });
        Self { stop, thread: Some(thread), found }
    }

    #[track_caller]
    fn end(mut self, what: &str) {
        self.stop.store(true, Relaxed);
        let rounds = self.thread.take().unwrap().join().unwrap();
        let found = self.found.lock().unwrap();
        assert!(found.is_empty() && rounds > 0, "{what}: {found:#?}");
    }
}

/// Looks for secrets in the command lines of all processes, and in their environments unless these
/// are free.
fn look_at_processes(secrets: &Secrets, found: &Findings, is_env_free: bool) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let files: &[&str] = if is_env_free { &["cmdline"] } else { &["cmdline", "environ"] };
        for file in files {
            // Processes end at any time.
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            if let Some(secret) = one_of(secrets, &bytes) {
                found.lock().unwrap().insert(format!("{secret} in the {file} of a process"));
            }
        }
    }
}

/// Looks for secrets in the files of a folder and of those in it. Files of the test itself have
/// `given` at the beginning of their names; the program is asked for those that have `asked`.
fn look_into(folder: &Path, found: &Findings) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        let name = name.to_string_lossy();
        if kind.is_dir() {
            look_into(&path, found);
        } else if kind.is_file() && !name.starts_with("given") && !name.starts_with("asked") {
            let bytes = fs::read(&path).unwrap_or_default();
            if let Some(secret) = secret_in(&bytes) {
                found.lock().unwrap().insert(format!("{secret} in {}", path.display()));
            }
        }
    }
}

/// Returns the name of a secret that is in the bytes: as it is, in hexadecimal digits or in Base64.
fn secret_in(bytes: &[u8]) -> Option<&'static str> {
    one_of(&SECRETS, bytes)
}

fn one_of(secrets: &Secrets, bytes: &[u8]) -> Option<&'static str> {
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let is_there = |secret: &str| {
        let digits: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        has(secret.as_bytes()) || has(digits.as_bytes()) || has(&base64(secret)[..12])
    };
    secrets.iter().find(|(_, secret)| is_there(secret)).map(|(name, _)| *name)
}

/// Checks that no process has a text in its command line or environment.
#[track_caller]
pub(crate) fn no_process_names(text: &'static str) {
    let found = Findings::default();
    look_at_processes(&[("it", text)], &found, false);
    assert!(found.lock().unwrap().is_empty(), "{found:?}");
}

/// Returns the first characters of a text in Base64.
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = text.as_bytes().chunks_exact(3).flat_map(|three| {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| LETTERS[bits >> shift & 63])
    });
    letters.collect()
}

/// A device whose commands are watched, with a home and temporary files of its own.
struct Stage {
    device: Device,
    home: PathBuf,
    /// Names of the commands that were run.
    seen: BTreeSet<String>,
}

impl Stage {
    fn of(device: Device) -> Self {
        device.unlock_by("--passphrase-file", "given-passphrase", PASSPHRASE.as_bytes());
        let home = device.folder().join("home");
        fs::create_dir(&home).unwrap();
        Self { device, home, seen: BTreeSet::new() }
    }

    fn watch(&self, is_env_free: bool) -> Watch {
        let folders =
            vec![self.device.folder().to_owned(), self.device.runtime().parent().unwrap().to_owned()];
        Watch::begin(folders, is_env_free)
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        let home = self.home.display().to_string();
        [("STRONGHOLD_LOG", "trace".into()), ("TMPDIR", home.clone()), ("HOME", home)]
    }

    fn command(&mut self, args: &[&str]) -> Command {
        // The options go before: what is after `--` belongs to another program.
        let of_device = self.device.command(&[]);
        let mut command = stronghold();
        command.args(of_device.get_args()).args(args).envs(self.variables()).env_remove("DISPLAY");
        for (name, value) in of_device.get_envs() {
            value.map(|value| command.env(name, value));
        }
        command.current_dir(self.device.folder());
        self.seen.insert(args[0].to_owned());
        command
    }

    /// Runs a command to its end. `shows` says that its stdout is to have a secret.
    #[track_caller]
    fn runs(&mut self, args: &[&str], stdin: &str, shows: bool) -> Ended {
        let mut command = self.command(args);
        let watch = self.watch(args[0] == "run");
        let done = run(&mut command, stdin.as_bytes());
        watch.end(args[0]);
        check(args, &done, shows);
        done
    }

    /// Runs a command that must succeed.
    #[track_caller]
    fn does(&mut self, args: &[&str], stdin: &str) {
        let done = self.runs(args, stdin, false);
        assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
    }

    #[track_caller]
    fn shows(&mut self, args: &[&str], stdin: &str) {
        let done = self.runs(args, stdin, true);
        assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
    }

    /// Looks for what is left after all commands.
    #[track_caller]
    fn is_clean(&self) {
        let found = Findings::default();
        for folder in [self.device.folder(), self.device.runtime().parent().unwrap(), Path::new("/dev/shm")] {
            look_into(folder, &found);
        }
        look_at_processes(&SECRETS, &found, false);
        assert!(found.lock().unwrap().is_empty(), "{found:#?}");
    }
}

/// Checks what a command printed: no secret on stderr, and none on stdout unless it `shows` one.
/// No name is in the lines of its log.
#[track_caller]
fn check(args: &[&str], done: &Ended, shows: bool) {
    let (said, printed) = (secret_in(done.stderr.as_bytes()), secret_in(&done.stdout));
    assert_eq!(said, None, "{args:?}: {}", done.stderr);
    assert_eq!(printed.is_some(), shows, "{args:?}: {}", String::from_utf8_lossy(&done.stdout));
    let is_logged = |line: &&str| {
        let level = line.split_whitespace().nth(1);
        level.is_some_and(|level| ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level))
    };
    let named: Vec<&str> = done.stderr.lines().filter(is_logged).filter(|line| line.contains(NAME)).collect();
    assert!(named.is_empty(), "{args:?}: {named:?}");
}

/// Returns the commands that there are: each has a page of the manual.
fn commands(folder: &Path) -> BTreeSet<String> {
    let done = run(stronghold().args(["man", "--output"]).arg(folder), b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    let pages = fs::read_dir(folder).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap());
    let names =
        pages.filter_map(|page| Some(page.strip_prefix("stronghold-")?.strip_suffix(".1")?.to_owned()));
    // A command of a command is a row of that.
    names.filter(|name| name != "peers-rename" && !name.starts_with("mailbox-")).collect()
}

#[test]
fn no_command_leaves_a_secret_where_it_has_no_business() {
    let mut a = Stage::of(Device::without_snapshot());
    let mut b = Stage::of(Device::without_snapshot());
    a.does(&["init", "--name", "a"], "");
    secrets_and_history(&mut a);
    files(&mut a);
    agents(&mut a);
    devices(&mut a, &mut b);
    a.is_clean();
    b.is_clean();
    let pages = tempfile::tempdir().unwrap();
    let seen: BTreeSet<String> = a.seen.union(&b.seen).cloned().collect();
    let without: Vec<String> = commands(pages.path()).difference(&seen).cloned().collect();
    assert!(without.is_empty(), "commands without a row: {without:?}");
}

/// Reads, writes and moves values.
fn secrets_and_history(a: &mut Stage) {
    let at = format!("wallet/web/{NAME}");
    let field = |field: &str| format!("{at}/{field}");
    let (password, totp, other) = (field("password"), field("totp"), "wallet/other/mail".to_owned());
    let given = a.device.file("given-value", format!("{VALUE}-from-a-file").as_bytes());
    let template = format!("password={{{{ stronghold:{password} }}}}");
    a.does(&["put", &password], VALUE);
    a.does(&["put", &password, "--file", &given], "");
    a.does(&["put", &totp], &format!("otpauth://totp/x?secret={ONE_TIME}"));
    a.does(&["put", "work/ssh/key"], SSH_KEY);
    a.does(
        &["put", &format!("wallet/new/{NAME}"), "--fields", "username,password"],
        &format!("anna\n{VALUE}\n"),
    );
    a.does(&["put", &other, "--generate"], "");
    a.shows(&["get", &password], "");
    a.shows(&["get", &password, "--json"], "");
    a.does(&["get", &password, "--output", "asked-value"], "");
    a.runs(&["get", &password, "--clip"], "", false);
    a.does(&["show", &at], "");
    a.does(&["show", &at, "--json"], "");
    a.shows(&["show", &at, "--reveal"], "");
    a.does(&["list", "--long"], "");
    a.does(&["list", "--json"], "");
    a.does(&["find", NAME], "");
    a.does(&["copy", &password, &field("copied")], "");
    a.does(&["move", &field("copied"), &field("moved")], "");
    a.does(&["remove", &field("moved")], "");
    a.shows(&["run", "--env", &format!("SECRET={password}"), "--", "sh", "-c", "echo \"$SECRET\""], "");
    a.does(&["run", "--env", &format!("SECRET={password}"), "--", "sleep", "0.2"], "");
    a.shows(&["inject"], &template);
    a.does(&["totp", &totp], "");
    a.runs(&["totp", &password], "", false);
    a.does(&["qr", &password], "");
    a.does(&["history", &password], "");
    a.does(&["undo"], "");
    a.does(&["undo", "--list"], "");
    a.does(&["redo"], "");
    a.does(&["conflicts"], "");
    let history = a.device.json(&["history", &password]);
    let oldest =
        history["revisions"].as_array().unwrap().last().unwrap()["revision"].as_str().unwrap().to_owned();
    a.does(&["restore", &password, "--revision", &oldest], "");
    a.does(&["log"], "");
    a.does(&["verify"], "");
    a.does(&["doctor"], "");
    a.does(&["config"], "");
    a.does(&["completions", "bash"], "");
    a.does(&["man", "get"], "");
    edit(a, &password);
}

/// Edits at a terminal, with a program that changes the value in place.
fn edit(a: &mut Stage, at: &str) {
    let script = "#!/bin/sh\nvalue=$(cat \"$1\")\nprintf '%s-edited' \"$value\" > \"$1\"\nsleep 0.2\n";
    let editor = a.device.file("editor", script.as_bytes());
    fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let passphrase = a.device.key_file();
    let owned = a.variables();
    let mut variables: Vec<(&str, &str)> =
        owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.extend([("EDITOR", editor.as_str()), ("VISUAL", &editor)]);
    let watch = a.watch(false);
    let mut session =
        at_terminal_with(&a.device, &["edit", at, "--passphrase-file", &passphrase], &variables);
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    let (exit, said) = end(session);
    watch.end("edit");
    assert!(exit == 0 && secret_in(said.as_bytes()).is_none(), "{said}");
    assert!(a.device.get(at).ends_with("-edited"));
    a.seen.insert("edit".into());
}

/// Imports, exports and merges; adds and removes passphrases.
fn files(a: &mut Stage) {
    let table = format!("Group,Title,Username,Password\nWeb,{NAME},anna,{VALUE}\n");
    let table = a.device.file("given.csv", table.as_bytes());
    let passphrase = a.device.file("given-other", format!("{PASSPHRASE}-other").as_bytes());
    let new = ["--output-passphrase-file", &passphrase];
    a.does(&["import", &table, "--dry-run"], "");
    a.does(&["import", &table, "--verbose"], "");
    a.does(&["export", "--output", "sealed", new[0], new[1]], "");
    a.does(&["export", "--format", "kdbx", "--output", "sealed.kdbx", new[0], new[1]], "");
    a.does(&["export", "--plaintext", "json", "--output", "asked.json"], "");
    a.does(
        &["import", "sealed.kdbx", "--source-passphrase-file", &passphrase, "--into", "again", "--verbose"],
        "",
    );
    a.does(&["merge", "sealed", "--other-passphrase-file", &passphrase, "--map", "wallet=merged"], "");
    a.does(&["passphrase", "--add", "--new-passphrase-file", &passphrase, "--label", "other"], "");
    a.does(&["passphrase", "--list"], "");
    a.does(&["passphrase", "--remove", "2"], "");
    a.runs(&["purge", "merged/**", "--yes"], "", false);
    // Two values of one record, by two copies of the file.
    a.does(&["export", "--output", "copy", new[0], new[1]], "");
    a.does(&["put", "work/ci/token"], &format!("{VALUE}-here"));
    let copy = Device::without_snapshot();
    fs::copy(a.device.folder().join("copy"), copy.snapshot()).unwrap();
    copy.unlock_by_file("--passphrase-file", passphrase.as_ref());
    copy.put("work/ci/token", &format!("{VALUE}-there"));
    let there = copy.snapshot().display().to_string();
    a.does(&["merge", &there, "--other-passphrase-file", &passphrase], "");
    a.does(&["conflicts"], "");
    a.does(&["resolve", "--all", "--keep", "newest"], "");
}

/// Holds the key with an agent, and signs with a key.
fn agents(a: &mut Stage) {
    let mut command = a.command(&["agent", "--json"]);
    let watch = a.watch(false);
    let mut agent = Running::start(&mut command, b"");
    agent.event();
    a.does(&["unlock"], "");
    let keyless = run(a.device.keyless(&["list"]).env("STRONGHOLD_LOG", "trace"), b"");
    assert_eq!(keyless.exit, 0, "{}", keyless.stderr);
    check(&["list"], &keyless, false);
    a.does(&["lock"], "");
    let done = agent.end();
    check(&["agent"], &done, false);
    watch.end("agent");
    // One that `unlock` starts outlives it.
    a.does(&["unlock"], "");
    a.is_clean();
    a.does(&["lock"], "");
    let list = if Command::new("ssh-add").arg("-l").output().is_ok() { "ssh-add" } else { "true" };
    a.does(&["ssh-agent", "--", list, "-L"], "");
}

/// Pairs, and asks another device for values.
fn devices(a: &mut Stage, b: &mut Stage) {
    let watch = (a.watch(false), b.watch(false));
    let mut command = a.command(&[
        "pair",
        "--listen",
        "127.0.0.1:0",
        "--json",
        "--yes",
        "--name",
        "b",
        "--grant",
        "import",
        "browse",
        "pull",
        "push",
        "delete",
    ]);
    let mut pairing = Running::start(&mut command, b"");
    let event = pairing.event();
    let text = |field: &str| event[field].as_str().unwrap().to_owned();
    let (code, address) = (text("code"), text("address"));
    let cloned = b.runs(
        &["clone", "--join", &address, "--yes", "--name", "a", "--grant", "pull", "push", "delete"],
        &code,
        false,
    );
    assert_eq!(cloned.exit, 0, "{}", cloned.stderr);
    let paired = pairing.end();
    check(&["pair"], &paired, false);
    for said in [&cloned.stderr, &paired.stderr] {
        assert!(!said.contains(&code) && !said.contains(&code.replace('-', "")), "the code: {said}");
    }
    a.does(&["put", "work/ci/token"], &format!("{VALUE}-newer"));
    let mut command = a.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    let mut serving = Running::start(&mut command, b"");
    let address = serving.event()["listening"].as_str().unwrap().to_owned();
    b.does(&["browse", "a", "--at", &address], "");
    b.does(&["fetch", "a", "work/ci/token", "--at", &address], "");
    a.does(&["put", "work/ci/token"], &format!("{VALUE}-newest"));
    b.does(&["sync", "a", "--at", &address, "--dry-run"], "");
    b.does(&["sync", "a", "--at", &address, "--json"], "");
    assert_eq!(b.device.get("work/ci/token"), format!("{VALUE}-newest"));
    assert!(Command::new("kill").arg(serving.id().to_string()).status().unwrap().success());
    let served = serving.end();
    check(&["serve"], &served, false);
    watch.0.end("serve");
    watch.1.end("sync");
    a.does(&["list", "--shared-with", "b"], "");
    a.does(&["peers"], "");
    a.does(&["peers", "rename", "b", "phone"], "");
    a.does(&["grant", "phone", "pull", "--select", "**", "--ask", "--replace"], "");
    through_a_folder(a, b);
    a.does(&["deny", "phone"], "");
    a.does(&["revoke", "phone"], "");
    a.does(&["rename", "desk"], "");
    a.does(&["identity"], "");
    a.does(&["log", "--json"], "");
}

/// Exchanges through a mailbox, in whose folder no secret may stand.
fn through_a_folder(a: &mut Stage, b: &mut Stage) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_str().unwrap();
    a.does(&["mailbox", "add", "phone", folder], "");
    b.does(&["mailbox", "add", "a", folder], "");
    a.does(&["put", "work/ci/token"], &format!("{VALUE}-by-mailbox"));
    for _ in 0..2 {
        b.does(&["sync", "--mailbox"], "");
        a.does(&["sync", "--mailbox", "--json"], "");
    }
    let findings = Findings::default();
    look_into(place.path(), &findings);
    assert!(findings.lock().unwrap().is_empty(), "{:?}", findings.lock().unwrap());
    b.does(&["sync", "--mailbox", "a"], "");
    assert_eq!(b.device.get("work/ci/token"), format!("{VALUE}-by-mailbox"));
    a.does(&["mailbox", "list"], "");
    a.does(&["mailbox", "remove", "phone"], "");
}

/// The search finds what it is to find: in a file, a command line and an environment, in each form.
#[test]
fn the_search_finds_a_secret_in_each_place() {
    assert!(secret_in(format!("some {VALUE}-more").as_bytes()).is_some() && secret_in(b"canary-").is_none());
    assert!(secret_in(&base64(&format!("{PASSPHRASE} and more"))).is_some());
    assert!(secret_in(SSH_KEY.as_bytes()).is_some());
    let digits: String = VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(secret_in(digits.as_bytes()).is_some());
    let folder = tempfile::tempdir().unwrap();
    for (name, is_found) in [("left", true), ("given", false)] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join(name), ONE_TIME).unwrap();
        let found = Findings::default();
        look_into(&folder.path().join(name), &found);
        assert_eq!(!found.lock().unwrap().is_empty(), is_found);
    }
    // Not the secrets of the other test, which may run at this time.
    let planted = [("planted", "planted-in-a-process")];
    let is_found = |is_env_free| {
        let found = Findings::default();
        look_at_processes(&planted, &found, is_env_free);
        !found.lock().unwrap().is_empty()
    };
    // A process that has just begun shows neither for a moment.
    let is_soon_found = |is_env_free| {
        (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            is_found(is_env_free)
        })
    };
    let mut sleeping = Command::new("sleep");
    let mut sleeping = sleeping.arg("60").env("CANARY", planted[0].1).spawn().unwrap();
    assert!(is_soon_found(false) && !is_found(true));
    sleeping.kill().unwrap();
    sleeping.wait().unwrap();
    let mut reading = Command::new("sh");
    let mut reading = reading.args(["-c", "read line", planted[0].1]).stdin(Stdio::piped()).spawn().unwrap();
    assert!(is_soon_found(true));
    drop(reading.stdin.take());
    reading.wait().unwrap();
}
