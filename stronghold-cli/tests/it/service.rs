//! Tests `serve` as a service: socket activation, readiness, signals, events and logs; and the
//! revocation of a device during its session.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{DENIED, Device, Pair, one_line, paired, trust_each_other};

/// A service process, killed on drop.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the process to exit; returns its exit code.
    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Builds the command as a service manager starts it, with the socket as descriptor 3.
fn activated(device: &Device, listener: TcpListener) -> Command {
    let serve = device.command(&["serve", "--json"]);
    let mut command = Command::new("sh");
    let script =
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(serve.get_program()).args(serve.get_args());
    with_environment_of(&serve, &mut command);
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn with_environment_of(one: &Command, other: &mut Command) {
    for (name, value) in one.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
}

#[test]
fn a_service_manager_hands_the_socket_over_hears_that_it_is_ready_and_stops_it() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    a.put("s/v/r", "value");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let manager = UnixDatagram::bind(a.folder().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut text = [0; 100];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    let mut command = activated(&a, listener);
    let mut service = Service(command.env("NOTIFY_SOCKET", a.folder().join("notify")).spawn().unwrap());
    let mut events = BufReader::new(service.0.stdout.take().unwrap()).lines();
    let mut event = || one_line(&(events.next().unwrap().unwrap() + "\n"));
    assert_eq!(event()["listening"], address.as_str());
    assert_eq!(told(), "READY=1");
    assert_eq!(b.json(&["sync", "a", "--at", &address])["received"], 1);
    let done = event();
    assert_eq!((done["session"].as_str(), done["name"].as_str()), (Some("done"), Some("b")));
    assert_eq!(done["sent"], 1);
    // A connection of a stranger is not an event of its own; it is counted, and reported on exit at
    // the latest.
    drop(TcpStream::connect(&address).unwrap());
    service.signal("-TERM");
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(service.end(), Some(0));
}

/// A stalled log reader (a stopped pager) fills the pipe; peers are still answered.
#[test]
fn a_reader_that_stalls_keeps_no_peer_waiting() {
    let (a, b) = paired();
    let mut command = a.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filling = writer.try_clone().unwrap();
    let service = Service(command.stdin(Stdio::null()).stdout(writer).spawn().unwrap());
    drop(command);
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, reader);
    reader.read_line(&mut line).unwrap();
    let address = one_line(&line)["listening"].as_str().unwrap().to_owned();
    // A pipe takes 64 KiB; each refusal is an event of over 100 bytes.
    filling.write_all(&[b'\n'; 65_000]).unwrap();
    for _ in 0..60 {
        assert_eq!(b.run(&["sync", "a", "--at", &address], b"").exit, DENIED);
    }
    drop((reader, filling, service));
}

/// Signals the process as soon as it reports that it listens, also under a parent that ignores
/// interrupts, as for a background job of a script.
#[test]
fn a_signal_right_after_the_first_line_ends_it_in_order() {
    let a = Device::new("a");
    let serve = a.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    for signal in ["-INT", "-TERM"] {
        for script in ["exec \"$@\"", "trap '' INT TERM; exec \"$@\""] {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).arg(serve.get_program()).args(serve.get_args());
            with_environment_of(&serve, &mut command);
            let mut service = Service(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
            let mut line = String::new();
            BufReader::new(service.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
            service.signal(signal);
            assert_eq!(service.end(), Some(0), "{signal} {script}");
        }
    }
}

/// Logs everything on both sides at the highest level: the log is not empty and contains no secret.
#[test]
fn the_loudest_log_has_no_secret_in_it() {
    let a = Device::with_passphrase("the laptop", "correct horse battery");
    a.put("wallet/web/mail", "hunter2 is the value");
    let loud = |device: &Device, args: &[&str], stdin: &[u8]| {
        let mut command = device.command(args);
        command.env("STRONGHOLD_LOG", "trace");
        crate::common::Running::start(&mut command, stdin)
    };
    let mut pairing =
        loud(&a, &["pair", "--listen", "127.0.0.1:0", "--json", "--yes", "--grant", "import", "pull"], b"");
    let shown = pairing.event();
    let (code, address) = (shown["code"].as_str().unwrap(), shown["address"].as_str().unwrap());
    let b = Device::without_snapshot();
    let cloned = loud(&b, &["clone", "--join", address, "--name", "a"], code.as_bytes()).end();
    assert_eq!(cloned.exit, 0, "{}", cloned.stderr);
    let paired = pairing.end();
    let mut serving = loud(&a, &["serve", "--once", "--listen", "127.0.0.1:0", "--json"], b"");
    let address = serving.event()["listening"].as_str().unwrap().to_owned();
    a.put("wallet/web/mail", "hunter3 is the value");
    let synced = loud(&b, &["sync", "a", "--pull", "--take", "--yes", "--at", &address], b"").end();
    assert_eq!(synced.exit, 0, "{}", synced.stderr);
    let served = serving.end();
    let log = [cloned.stderr, paired.stderr, synced.stderr, served.stderr].concat();
    assert!(log.contains("a session begins"), "{log}");
    let key = std::fs::read_to_string(b.key_file()).unwrap();
    for secret in ["hunter", "correct horse", "wallet", "the laptop", code, &code.replace('-', ""), &key] {
        assert!(!log.contains(secret), "{secret:?} is in the log: {log}");
    }
}

#[test]
fn a_revoked_device_loses_the_session_that_it_has() {
    let (a, b) = paired();
    a.ok(&["grant", "b", "pull", "--select", "**", "--ask"]);
    a.put("s/v/r", "value");
    // `serve` has no terminal, so the request is denied at once; keeping a session open takes a
    // stalled peer.
    let (mut serving, address) = a.serve();
    let done = b.run(&["sync", "a", "--at", &address], b"");
    assert_eq!(done.exit, DENIED, "{}", done.stderr);
    assert_eq!(serving.event()["session"], "failed");
    a.ok(&["revoke", "b"]);
    let said = b.fails(&["sync", "a", "--at", &address], crate::common::PEER);
    assert!(said.contains("hung up without a word"), "{said}");
    let logged = a.json(&["log"])["entries"].as_array().unwrap().last().cloned().unwrap();
    assert_eq!((logged["operation"].as_str(), logged["name"].as_str().is_some()), (Some("revoked"), true));
    assert!(a.ok(&["log"]).contains("  revoked"));
}

#[test]
fn a_pairing_shows_code_link_and_addresses_and_takes_the_link_too() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    let mut pairing = a.start(&["pair", "--listen", "127.0.0.1:0", "--json"], b"");
    let shown = pairing.event();
    let (code, address) = (shown["code"].as_str().unwrap(), shown["address"].as_str().unwrap());
    assert_eq!(shown["link"].as_str(), Some(format!("stronghold:{code}/{address}").as_str()));
    let joined = b.json_with(&["pair", "--join"], shown["link"].as_str().unwrap().to_uppercase().as_bytes());
    assert_eq!(joined["name"], "a");
    assert_eq!(pairing.event()["name"], "b");
    assert_eq!(pairing.end().exit, 0);
    // Pairing again under another name updates the peer instead of adding a second one.
    let mut pairing = a.start(&["pair", "--listen", "127.0.0.1:0", "--json", "--name", "phone"], b"");
    let shown = pairing.event();
    b.ok_with(&["pair", "--join"], shown["link"].as_str().unwrap().as_bytes());
    assert_eq!(pairing.end().exit, 0);
    let peers = a.json(&["peers"])["peers"].take();
    assert_eq!((peers.as_array().unwrap().len(), peers[0]["name"].as_str()), (1, Some("phone")));
    trust_each_other((&a, "a"), (&b, "phone"));
    a.put("s/v/r", "value");
    assert_eq!(Pair::of(a, b).ask(&["sync", "a"])["received"], 1);
}

#[test]
fn what_went_wrong_with_a_pairing_is_said() {
    let pair = Pair::trusting();
    let code = stronghold_net::PairingCode::generate().unwrap().reveal().to_string();
    let join = |address: &str| pair.b.run(&["pair", "--join", address], code.as_bytes());
    // The address is reachable, but the device is not pairing.
    let done = join(&pair.address);
    assert_eq!(done.exit, crate::common::PEER);
    let said = "error: something listens there, but it is not pairing; nothing was changed\n\
                hint: run `stronghold pair` there, and use the code and the address that it shows\n";
    assert_eq!(done.stderr, said);
    // Nothing listens at the address.
    let done = join("127.0.0.1:1");
    assert_eq!(done.exit, crate::common::PEER);
    let said = "error: can't reach 127.0.0.1:1: nobody listens there; nothing was changed\n\
                hint: is `stronghold serve` or `stronghold pair` running there? Say where with --at or --join\n";
    assert_eq!(done.stderr, said);
    // A mistyped code is rejected before anything is tried.
    let mut slip = code.clone().into_bytes();
    slip[2] = if slip[2] == b'3' { b'4' } else { b'3' };
    let done = pair.b.run(&["pair", "--join", &pair.address], &slip);
    assert_eq!(done.exit, crate::common::USAGE);
    let said = "error: a character of the pairing code is mistyped\n\
                hint: compare it with the other screen; nothing was tried with it, so it is still good\n";
    assert_eq!(done.stderr, said);
}

/// `serve` reports an unusable snapshot at once, and its recovery; a paired device is told to try
/// again later, never to pair again.
#[test]
fn a_snapshot_that_can_not_be_used_is_told_of_by_serve_and_its_peers() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    a.put("s/v/r", "value");
    let other = Device::new("other");
    let (mut serving, address) = a.serve();
    b.json(&["sync", "a", "--at", &address]);
    assert_eq!(serving.event()["session"], "done");
    let whole = std::fs::read(a.snapshot()).unwrap();
    let aside = a.folder().join("aside");
    let spoil: [(&str, &dyn Fn()); 4] = [
        ("gone", &|| std::fs::rename(a.snapshot(), &aside).unwrap()),
        ("emptied", &|| std::fs::write(a.snapshot(), b"").unwrap()),
        ("cut", &|| std::fs::write(a.snapshot(), &whole[..whole.len() / 4]).unwrap()),
        ("another's", &|| std::fs::copy(other.snapshot(), a.snapshot()).map(drop).unwrap()),
    ];
    for (what, spoil) in spoil {
        spoil();
        // No peer has asked yet.
        let event = serving.event();
        assert_eq!(event["snapshot"], "not_ready", "{what}: {event}");
        assert!(!event["reason"].as_str().unwrap().is_empty(), "{what}: {event}");
        let said = b.fails(&["sync", "a", "--at", &address], crate::common::PEER);
        assert!(said.contains("not ready") && !said.contains("pair again"), "{what}: {said}");
        assert_eq!(serving.event()["session"], "failed", "{what}");
        std::fs::write(a.snapshot(), &whole).unwrap();
        assert_eq!(serving.event(), serde_json::json!({ "snapshot": "ready" }), "{what}");
        b.json(&["sync", "a", "--at", &address]);
        assert_eq!(serving.event()["session"], "done", "{what}");
    }
    // A stranger learns nothing of it.
    std::fs::write(a.snapshot(), b"").unwrap();
    assert_eq!(serving.event()["snapshot"], "not_ready");
    let mut stranger = TcpStream::connect(&address).unwrap();
    stranger.write_all(&[7; 32]).unwrap();
    let mut heard = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stranger, &mut heard);
    assert!(heard.is_empty());
}
