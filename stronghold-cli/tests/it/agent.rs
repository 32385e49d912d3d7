//! The agent: commands that need no key while it holds one, and everything that ends that.
#![cfg(unix)]

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use expectrl::Expect;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{
    Device, Ended, IN_USE, PEER, Running, USAGE, WRONG_KEY, at_terminal_with, end, one_line, paired, raw_key,
    run, trust_each_other,
};
use crate::effort;

const SECRET: &str = "canary-agent-5b0c71";

/// A device with a record, and its agent, which holds no key yet.
struct Attended {
    device: Device,
    agent: Running,
}

impl Attended {
    fn new() -> Self {
        Self::of(Device::new("own"))
    }

    fn of(device: Device) -> Self {
        device.put("wallet/web/mail", SECRET);
        let agent = start(&device, &["agent"]);
        Self { device, agent }
    }

    fn unlocked() -> Self {
        let attended = Self::new();
        attended.device.ok(&["unlock"]);
        attended
    }

    fn get(&self) -> Ended {
        keyless(&self.device, &["get", "wallet/web/mail"])
    }

    /// Checks that the agent gives the key to a command.
    #[track_caller]
    fn is_unlocked(&self) {
        let done = self.get();
        assert_eq!((done.exit, &*done.stdout), (0, SECRET.as_bytes()), "{}", done.stderr);
        assert_eq!(done.stderr, "");
    }

    /// Checks that a command finds no key, and that the agent has ended.
    #[track_caller]
    fn ends_locked(self) {
        let done = self.agent.end();
        assert_eq!(done.exit, 0, "{}", done.stderr);
        is_locked(&self.device);
    }
}

/// Runs a command without a key of its own.
fn keyless(device: &Device, args: &[&str]) -> Ended {
    run(&mut device.keyless(args), b"")
}

/// Starts an agent and waits until it listens.
#[track_caller]
fn start(device: &Device, args: &[&str]) -> Running {
    let mut agent = Running::start(&mut device.keyless(&[args, &["--json"]].concat()), b"");
    let socket = agent.event()["listening"].as_str().unwrap().to_owned();
    assert_eq!(PathBuf::from(socket), socket_of(device));
    agent
}

fn socket_of(device: &Device) -> PathBuf {
    let sockets = fs::read_dir(device.runtime()).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut sockets: Vec<_> =
        sockets.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    sockets.remove(0)
}

#[track_caller]
fn is_locked(device: &Device) {
    let done = keyless(device, &["get", "wallet/web/mail"]);
    assert_eq!(done.exit, USAGE, "{}", done.stderr);
    assert!(done.stderr.starts_with("error: there is no terminal to ask on"), "{}", done.stderr);
}

pub(crate) fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

/// Sends bytes to the agent; returns what it answers.
fn say(device: &Device, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket_of(device)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    reply
}

/// Returns the bytes of a request of this version and code, without a snapshot's name.
fn request(version: u8, code: u8) -> Vec<u8> {
    [b"SHAGENT".as_slice(), &[version, code], &[0; 80]].concat()
}

#[test]
fn one_prompt_opens_the_snapshot_until_it_is_locked() {
    let device = Device::with_passphrase("own", "correct horse battery");
    device.put("wallet/web/mail", SECRET);
    let runtime = device.runtime();
    let variables = [("XDG_RUNTIME_DIR", runtime.parent().unwrap().to_str().unwrap())];
    let mut session = at_terminal_with(&device, &["unlock"], &variables);
    session.expect("Passphrase of").unwrap();
    session.send_line("correct horse battery").unwrap();
    let (exit, shown) = end(session);
    assert_eq!(exit, 0, "{shown}");
    assert!(shown.contains("unlocked: locks after 15 min without use, in 8 h in any case"), "{shown}");

    for _ in 0..2 {
        let done = keyless(&device, &["get", "wallet/web/mail"]);
        assert_eq!((done.exit, &*done.stdout, &*done.stderr), (0, SECRET.as_bytes(), ""));
    }
    let again = keyless(&device, &["unlock"]);
    assert_eq!(again.exit, 0, "{}", again.stderr);
    let said = String::from_utf8(again.stdout).unwrap();
    assert!(said.starts_with("already unlocked: locks after 1"), "{said}");
    assert_eq!(keyless(&device, &["get", "wallet/web/mail", "--no-agent"]).exit, USAGE);
    let done = run(device.keyless(&["get", "wallet/web/mail"]).env("STRONGHOLD_NO_AGENT", "1"), b"");
    assert_eq!(done.exit, USAGE);
    // A longer time takes the passphrase again.
    assert_eq!(keyless(&device, &["unlock", "--until-lock"]).exit, USAGE);

    let locked = keyless(&device, &["lock"]);
    assert_eq!((locked.exit, &*locked.stdout), (0, b"locked\n".as_slice()), "{}", locked.stderr);
    is_locked(&device);
    assert_eq!(keyless(&device, &["lock"]).stdout, b"nothing was unlocked\n");
}

/// The commands that take a key and end by themselves, each with its input.
const COMMANDS: [(&str, &str); 34] = [
    ("list", ""),
    ("list wallet --long --json", ""),
    ("get wallet/web/mail", ""),
    ("get wallet/web/none", ""),
    ("get wallet/** --json", ""),
    ("show wallet/web/mail", ""),
    ("put wallet/web/new", "a value"),
    ("put wallet/web/new", "another value"),
    ("copy wallet/web/new wallet/web/copy", ""),
    ("move wallet/web/copy wallet/web/moved", ""),
    ("remove wallet/web/moved", ""),
    ("remove wallet/web/none", ""),
    ("find mail", ""),
    ("run --env A=wallet/web/mail -- sh -c exit", ""),
    ("inject -", "{{ stronghold:wallet/web/mail }}"),
    ("totp wallet/web/mail", ""),
    ("qr wallet/web/mail", ""),
    ("conflicts", ""),
    ("resolve wallet/web/mail --keep here", ""),
    ("undo", ""),
    ("redo", ""),
    ("undo --list", ""),
    ("verify", ""),
    ("passphrase --list", ""),
    ("export --output exported --output-key-file key", ""),
    ("export wallet/** --output plain --plaintext json", ""),
    ("merge exported --key-file key", ""),
    ("peers", ""),
    ("peers rename nobody other", ""),
    ("rename new", ""),
    ("grant nobody pull --select wallet/**", ""),
    ("sync nobody", ""),
    ("purge wallet/web/new --yes", ""),
    ("log", ""),
];

/// Leaves out what differs between two devices in any case.
fn normalized(device: &Device, done: Ended) -> (i32, String, String) {
    let folder = device.folder().to_str().unwrap().to_owned();
    let plain = |text: &str| {
        let text = text.replace(&folder, "FOLDER");
        let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '-').map(|word| {
            let is_random =
                word.len() >= 6 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
            if is_random { "X" } else { word }
        });
        words.filter(|word| word.parse::<u64>().is_err()).collect::<Vec<_>>().join(" ")
    };
    (done.exit, plain(&String::from_utf8_lossy(&done.stdout)), plain(&done.stderr))
}

#[test]
fn each_command_does_the_same_with_and_without_an_agent() {
    let (attended, alone) = (Attended::unlocked(), Device::new("own"));
    alone.put("wallet/web/mail", SECRET);
    for (line, stdin) in COMMANDS {
        let args: Vec<&str> = line.split(' ').collect();
        let with = run(&mut attended.device.keyless(&args), stdin.as_bytes());
        let without = match args.contains(&"--key-file") {
            true => run(&mut alone.keyless(&args), stdin.as_bytes()),
            false => alone.run(&args, stdin.as_bytes()),
        };
        let (with, without) = (normalized(&attended.device, with), normalized(&alone, without));
        assert_eq!(with, without, "{line}");
    }
}

#[test]
fn commands_with_an_agent_see_the_writes_of_others_and_write_beside_them() {
    let attended = Attended::unlocked();
    attended.device.put("wallet/web/mail", "changed");
    assert_eq!(attended.get().stdout, b"changed");
    let puts: Vec<Running> = (0..8)
        .map(|number| {
            let (args, value) = (["put", &format!("many/web/{number}")], number.to_string());
            match number % 2 {
                0 => Running::start(&mut attended.device.keyless(&args), value.as_bytes()),
                _ => attended.device.start(&args, value.as_bytes()),
            }
        })
        .collect();
    for put in puts {
        let done = put.end();
        assert_eq!(done.exit, 0, "{}", done.stderr);
    }
    let listed = keyless(&attended.device, &["list", "many/**", "--json"]);
    let listed = one_line(&String::from_utf8(listed.stdout).unwrap());
    assert_eq!(listed["entries"].as_array().unwrap().len(), 8);
}

#[test]
fn a_new_passphrase_makes_the_key_useless() {
    let attended = Attended::unlocked();
    let key = attended.device.file("new-key", format!("{:064x}", 4711).as_bytes());
    let done = keyless(&attended.device, &["passphrase", "--new-key-file", &key]);
    assert_eq!(done.exit, 0, "{}", done.stderr);
    let done = attended.get();
    assert_eq!(done.exit, USAGE);
    let warning = "warning: the key that the agent holds opens the snapshot no more; it is wiped\nerror: there is no terminal";
    assert!(done.stderr.starts_with(warning), "{}", done.stderr);
    is_locked(&attended.device);
    attended.device.fails(&["get", "wallet/web/mail"], WRONG_KEY);
    attended.device.unlock_by_file("--key-file", key.as_ref());
    attended.device.ok(&["unlock", "--for", "1h"]);
    attended.is_unlocked();
}

#[test]
fn each_end_of_it_wipes_the_key() {
    let attended = Attended::unlocked();
    attended.is_unlocked();
    attended.device.ok(&["lock"]);
    attended.ends_locked();

    for signalled in [Signal::HUP, Signal::INT, Signal::TERM] {
        let attended = Attended::unlocked();
        attended.is_unlocked();
        signal(attended.agent.id(), signalled);
        attended.ends_locked();
    }

    let attended = Attended::new();
    attended.device.ok(&["unlock", "--for", "1s"]);
    attended.ends_locked();
    let attended = Attended::new();
    attended.device.ok(&["unlock", "--idle", "1s"]);
    attended.ends_locked();

    // Another file in its place is noticed by the next command, at the latest.
    let attended = Attended::unlocked();
    let other = Device::new("other");
    fs::copy(other.snapshot(), attended.device.snapshot()).unwrap();
    attended.ends_locked();
}

#[test]
fn a_killed_agent_leaves_nothing_in_the_way() {
    let Attended { device, mut agent } = Attended::unlocked();
    agent.kill();
    agent.end();
    socket_of(&device);
    is_locked(&device);
    let said = keyless(&device, &["lock"]);
    assert_eq!((said.exit, &*said.stdout), (0, b"nothing was unlocked\n".as_slice()));
    let agent = start(&device, &["agent"]);
    device.ok(&["unlock"]);
    let attended = Attended { device, agent };
    attended.is_unlocked();
}

#[test]
fn a_snapshot_has_one_agent_and_each_has_its_own() {
    let (one, other) = (Attended::unlocked(), Attended::new());
    let second = keyless(&one.device, &["agent"]);
    assert_eq!(second.exit, IN_USE, "{}", second.stderr);
    assert!(second.stderr.contains("`stronghold lock` ends it"), "{}", second.stderr);
    one.is_unlocked();
    is_locked(&other.device);
    // The other snapshot's agent is not asked even by its name.
    let mut get = one.device.keyless(&["get", "wallet/web/mail"]);
    get.arg("--json").env("XDG_RUNTIME_DIR", other.device.runtime().parent().unwrap());
    assert_eq!(run(&mut get, b"").exit, USAGE);
}

#[test]
fn all_of_a_users_snapshots_are_locked_at_once() {
    let (one, other) = (Attended::unlocked(), Device::new("other"));
    other.put("wallet/web/mail", SECRET);
    let runtime = one.device.runtime();
    let runtime = runtime.parent().unwrap();
    let mut agent = other.keyless(&["agent", "--json"]);
    let mut agent = Running::start(agent.env("XDG_RUNTIME_DIR", runtime), b"");
    agent.event();
    let mut unlock = other.command(&["unlock"]);
    assert_eq!(run(unlock.env("XDG_RUNTIME_DIR", runtime), b"").exit, 0);
    let done = keyless(&one.device, &["lock", "--all"]);
    assert_eq!((done.exit, &*done.stdout), (0, b"locked 2 snapshots\n".as_slice()), "{}", done.stderr);
    assert_eq!(agent.end().exit, 0);
    one.ends_locked();
}

#[test]
fn another_version_gets_no_key_and_may_lock() {
    let attended = Attended::unlocked();
    for version in [0, 2, 255] {
        for code in [1, 2, 4] {
            let reply = say(&attended.device, &request(version, code));
            assert_eq!(reply[..9], *b"SHAGENT\x01\x04", "version {version}, code {code}");
            assert!(reply[9..].iter().all(|byte| *byte == 0));
        }
    }
    let reply = say(&attended.device, &request(1, 1));
    assert_eq!(reply[..9], *b"SHAGENT\x01\x05", "a command of another snapshot");
    for bytes in [&[0; 89], &[255; 89]] {
        assert_eq!(say(&attended.device, bytes)[..9], *b"SHAGENT\x01\x06");
    }
    // A command that sends too little waits in vain, and nobody with it.
    let mut slow = UnixStream::connect(socket_of(&attended.device)).unwrap();
    slow.write_all(b"SHAGENT\x01").unwrap();
    attended.is_unlocked();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    attended.is_unlocked();
    assert_eq!(say(&attended.device, &request(2, 3))[..9], *b"SHAGENT\x01\x03");
    attended.ends_locked();
}

/// An agent that an older program left behind is replaced by the next `unlock`.
#[test]
fn an_agent_of_another_version_is_told_and_replaced() {
    let device = Device::new("own");
    device.put("wallet/web/mail", SECRET);
    let agent = start(&device, &["agent"]);
    let socket = socket_of(&device);
    device.ok(&["lock"]);
    assert_eq!(agent.end().exit, 0);
    let old = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        let mut codes = Vec::new();
        // It ends when it is told to lock.
        while codes.last() != Some(&3) {
            let (mut stream, _) = old.accept().unwrap();
            let mut request = [0; 89];
            stream.read_exact(&mut request).unwrap();
            codes.push(request[8]);
            stream.write_all(&[b"SHAGENT\x02\x03".as_slice(), &[0; 48]].concat()).unwrap();
        }
        codes
    });
    let done = keyless(&device, &["get", "wallet/web/mail"]);
    assert_eq!(done.exit, USAGE);
    assert!(done.stderr.starts_with("warning: the agent is of another version\n"), "{}", done.stderr);
    let unlocked = device.json(&["unlock", "--idle", "1h"]);
    assert_eq!((unlocked["idle_seconds"].as_u64(), unlocked["total_seconds"].as_u64()), (Some(3600), None));
    assert_eq!(answering.join().unwrap(), [1, 4, 3]);
    assert_eq!(keyless(&device, &["get", "wallet/web/mail"]).stdout, SECRET.as_bytes());
    device.ok(&["lock"]);
}

#[test]
fn a_folder_that_others_can_enter_is_not_used() {
    let attended = Attended::unlocked();
    let runtime = attended.device.runtime();
    for mode in [0o701, 0o710, 0o770, 0o777] {
        fs::set_permissions(&runtime, Permissions::from_mode(mode)).unwrap();
        let done = attended.get();
        assert_eq!(done.exit, USAGE);
        assert!(done.stderr.contains("the folder is not this user's alone"), "{mode:o}: {}", done.stderr);
        let unlock = attended.device.fails(&["unlock", "--until-lock"], 1);
        assert!(unlock.contains("the folder is not this user's alone"), "{mode:o}: {unlock}");
    }
    fs::set_permissions(&runtime, Permissions::from_mode(0o700)).unwrap();
    attended.is_unlocked();
}

#[test]
fn another_user_gets_no_answer() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can run a process for another user");
        return;
    }
    let attended = Attended::unlocked();
    let socket = socket_of(&attended.device);
    let ask = || {
        let script = "$SIG{PIPE} = 'IGNORE'; use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or exit 3; \
                      syswrite(S, \"SHAGENT\\x01\\x03\" . (\"\\0\" x 80)); sysread(S, $r, 57) and exit 0; exit 4";
        let mut command = Command::new("perl");
        command.args(["-e", script]).arg(&socket).uid(65_534).gid(65_534).current_dir("/");
        command.status().unwrap().code()
    };
    assert_eq!(ask(), Some(3), "the folder keeps it out");
    for path in
        [attended.device.runtime().parent().unwrap().to_owned(), attended.device.runtime(), socket.clone()]
    {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    assert_eq!(ask(), Some(4), "the agent hangs up");
    fs::set_permissions(attended.device.runtime(), Permissions::from_mode(0o700)).unwrap();
    attended.is_unlocked();
}

#[test]
fn peers_are_answered_while_it_is_unlocked() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    a.put("wallet/web/mail", SECRET);
    let mut agent = start(&a, &["agent", "--serve", "--listen", "127.0.0.1:0", "--no-announce"]);
    a.ok(&["unlock"]);
    let address = agent.event()["listening"].as_str().unwrap().to_owned();
    b.ok(&["sync", "a", "--at", &address]);
    assert_eq!(b.get("wallet/web/mail"), SECRET);
    assert_eq!(keyless(&a, &["get", "wallet/web/mail"]).stdout, SECRET.as_bytes());
    a.ok(&["lock"]);
    assert_eq!(agent.end().exit, 0);
    b.fails(&["sync", "a", "--at", &address], PEER);
}

/// The server of the key before has given the port back by then.
#[test]
fn peers_are_answered_after_a_second_unlock_too() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    // A port that no listener gets by chance.
    let port = format!("127.0.0.1:{}", 20_000 + std::process::id() % 10_000);
    let mut agent = start(&a, &["agent", "--serve", "--listen", &port, "--no-announce"]);
    for number in 0..3 {
        a.ok(&["unlock", "--for", "1h"]);
        assert_eq!(agent.event()["listening"], port.as_str());
        a.put("wallet/web/mail", &number.to_string());
        b.ok(&["sync", "a", "--at", &port]);
        assert_eq!(b.get("wallet/web/mail"), number.to_string());
        // The event of the session comes before that of the next server.
        while agent.event()["session"] != "done" {}
    }
}

/// An agent that does not answer keeps no other unlocked.
#[test]
fn locking_all_goes_on_after_one_that_does_not_answer() {
    let attended = Attended::unlocked();
    let stuck = attended.device.runtime().join("0.sock");
    let listener = std::os::unix::net::UnixListener::bind(&stuck).unwrap();
    let hangs_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let done = keyless(&attended.device, &["lock", "--all"]);
    assert_eq!(done.exit, 1, "{}", done.stderr);
    assert!(done.stderr.contains("0.sock: the agent does not answer"), "{}", done.stderr);
    hangs_up.join().unwrap();
    fs::remove_file(stuck).unwrap();
    attended.ends_locked();
}

/// The key is in locked memory alone, and so is what an open snapshot has beside it.
#[test]
#[cfg(target_os = "linux")]
fn the_agent_keeps_its_key_in_locked_memory() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root reads the memory of a process that is not dumpable");
        return;
    }
    // No bytes that memory has by chance.
    let (device, key) = (Device::new("own"), raw_key(78));
    let file = device.file("new-key", &key);
    device.ok(&["passphrase", "--new-key-file", &file]);
    device.unlock_by_file("--key-file", file.as_ref());
    let attended = Attended::of(device);
    attended.device.ok(&["unlock"]);
    for _ in 0..20 {
        attended.is_unlocked();
    }
    let secrets = [("key", key.to_vec()), ("value", SECRET.as_bytes().to_vec())];
    let (in_arena, elsewhere) = crate::memory::search(attended.agent.id(), &secrets);
    assert_eq!(in_arena, [1, 0]);
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// Thousands of commands leave nothing behind in the agent.
#[test]
#[cfg(target_os = "linux")]
fn calls_in_parallel_leave_its_memory_as_it_was() {
    let attended = Attended::unlocked();
    let (socket, calls) = (socket_of(&attended.device), effort::count("calls", 10_000));
    let call = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(&request(1, 2)).unwrap();
        let mut reply = [0; 57];
        stream.read_exact(&mut reply).unwrap();
    };
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", attended.agent.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let all = |calls: u64| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..calls / 8).for_each(|_| call()));
            }
        });
    };
    all(800);
    let before = memory();
    all(calls);
    let after = memory();
    assert!(after <= before + 1024, "{before} kB before {calls} calls, {after} kB after");
    attended.is_unlocked();
}

/// A bus, stopped on drop.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A private bus with a logind of the test's own, which announces a sleep. The sleep waits until
/// the key is gone.
#[test]
#[cfg(target_os = "linux")]
fn the_key_is_wiped_before_the_computer_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:path={}/bus", folder.path().display());
    let config = folder.path().join("bus.conf");
    let types = ["method_call", "method_return", "error", "signal"];
    let types =
        types.map(|kind| format!("<allow send_type='{kind}'/><allow receive_type='{kind}'/>")).concat();
    let policy = format!("<policy context='default'>{types}<allow own='*'/><allow user='*'/></policy>");
    let text = format!("<busconfig><listen>{address}</listen><auth>EXTERNAL</auth>{policy}</busconfig>");
    fs::write(&config, text).unwrap();
    let mut daemon = Command::new("dbus-daemon");
    daemon.arg("--config-file").arg(&config).args(["--nofork", "--print-address"]);
    daemon.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let Ok(daemon) = daemon.spawn() else {
        eprintln!("skipped: there is no dbus-daemon");
        return;
    };
    let mut daemon = Daemon(daemon);
    let mut first = [0];
    daemon.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asleep = async {
        let connection = zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
        connection.request_name("org.freedesktop.login1").await.unwrap();
        let mut calls = zbus::MessageStream::from(&connection);
        let device = Device::new("own");
        device.put("wallet/web/mail", SECRET);
        let mut agent = device.keyless(&["agent", "--json"]);
        agent.env("DBUS_SYSTEM_BUS_ADDRESS", &address);
        let mut agent = Running::start(&mut agent, b"");
        agent.event();
        device.ok(&["unlock", "--until-lock"]);

        // The agent asks for a delay, and has the other end of a pipe as long as that lasts.
        use zbus::export::ordered_stream::OrderedStreamExt;
        let (mut read, write) = UnixStream::pair().unwrap();
        let inhibit = loop {
            let call = calls.next().await.unwrap().unwrap();
            if call.header().member().is_some_and(|member| member == "Inhibit") {
                break call;
            }
        };
        connection.reply(&inhibit.header(), &zbus::Fd::from(&write)).await.unwrap();
        drop((write, inhibit));
        let announce = async |begins: bool| {
            let (path, interface) = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager");
            connection.emit_signal(None::<&str>, path, interface, "PrepareForSleep", &begins).await.unwrap();
        };
        announce(false).await;
        assert_eq!(keyless(&device, &["get", "wallet/web/mail"]).stdout, SECRET.as_bytes());
        announce(true).await;
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        is_locked(&device);
        assert_eq!(agent.end().exit, 0);
    };
    let in_time = async { tokio::time::timeout(Duration::from_secs(100), asleep).await };
    runtime.block_on(in_time).expect("it is told in time");
}
