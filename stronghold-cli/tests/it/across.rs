//! Tests connections over QUIC: two processes, directly and through a relay, and what is told where
//! neither leads anywhere.
#![cfg(feature = "iroh")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

#[cfg(target_os = "linux")]
mod nat;

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use stronghold_sync::Timestamp;
use stronghold_vault::Labels;

use crate::agent::signal;
use crate::common::{Device, PEER, Running, USAGE, one_line, paired, run, trust_each_other};

/// An address at which no device answers over TCP: of its port, nobody makes use.
const NO_TCP: &str = "127.0.0.1:1";
/// Time within which a device that is nowhere is reported as such.
const LIMIT: Duration = Duration::from_secs(20);

/// Two paired devices that trust each other; `a` has a record.
fn devices() -> (Device, Device) {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    a.put("wallet/web/mail", "of a");
    b.put("wallet/web/shop", "of b");
    (a, b)
}

/// Builds a command of a device, with its configuration, if it has one.
fn command(device: &Device, args: &[&str]) -> Command {
    let (mut command, file) = (device.command(args), device.folder().join("config.toml"));
    if file.exists() {
        command.env("STRONGHOLD_CONFIG", file);
    }
    command
}

/// Runs a command that must succeed; returns its object.
#[track_caller]
fn json(device: &Device, args: &[&str]) -> Value {
    let done = run(&mut command(device, &[args, &["--json"]].concat()), b"");
    assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
    let object = one_line(&String::from_utf8(done.stdout).unwrap());
    crate::schemas::check(args[0], &object);
    object
}

/// Runs a command that must not reach the peer, within the time; returns its stderr.
#[track_caller]
fn unreached(device: &Device, args: &[&str]) -> String {
    let begun = Instant::now();
    let done = run(&mut command(device, args), b"");
    assert!(begun.elapsed() < LIMIT, "{args:?}: {:?}", begun.elapsed());
    assert_eq!((done.exit, done.stdout.len()), (PEER, 0), "{args:?}: {}", done.stderr);
    done.stderr
}

/// Serves over QUIC with these options; returns the process, and the UDP port for the only peer.
#[track_caller]
fn serve(device: &Device, options: &[&str]) -> (Running, u16) {
    let args = [&["serve", "--listen", "127.0.0.1:0", "--json", "--iroh"], options].concat();
    let mut serving = Running::start(&mut command(device, &args), b"");
    serving.event();
    let event = serving.event();
    assert_eq!(event["iroh"], "listening", "{event}");
    (serving, u16::try_from(event["port"].as_u64().unwrap()).unwrap())
}

/// Returns the way that a sync took, after it exchanged both records.
#[track_caller]
fn way(done: &Value) -> &str {
    assert_eq!((done["received"].as_u64(), done["sent"].as_u64()), (Some(1), Some(1)), "{done}");
    done["way"].as_str().unwrap()
}

#[test]
fn two_devices_meet_at_a_port_that_both_know() {
    let (a, b) = devices();
    let (_serving, _port) = serve(&a, &[]);
    let done = json(&b, &["sync", "a", "--at", NO_TCP]);
    assert_eq!(way(&done), "direct");
    assert_eq!(a.entries(), b.entries());
    // The way is told to people, too.
    let said = run(&mut command(&b, &["sync", "a", "--at", NO_TCP]), b"");
    assert_eq!((said.exit, said.stderr.as_str()), (0, "note: connected directly, over QUIC\n"));
    // So do the other commands that dial.
    let found = json(&b, &["browse", "a", "wallet/web/m*", "--at", NO_TCP]);
    assert_eq!(found["entries"][0]["location"], "wallet/web/mail");
    a.put("wallet/web/new", "of a");
    let done = json(&b, &["fetch", "a", "wallet/web/new", "--at", NO_TCP]);
    assert_eq!((done["received"].as_u64(), done["way"].as_str()), (Some(1), Some("direct")));
    assert_eq!(b.get("wallet/web/new"), "of a");
}

#[test]
fn two_devices_pair_at_a_port_that_follows_from_the_code() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    let (pairing, code, _) = a.pair(&["--iroh"]);
    b.ok_with(&["pair", "--join", NO_TCP], code.as_bytes());
    let done = pairing.end();
    assert_eq!(done.exit, 0, "{}", done.stderr);
    trust_each_other((&a, "a"), (&b, "b"));
    a.put("wallet/web/mail", "of a");
    let (_serving, _) = serve(&a, &[]);
    assert_eq!(json(&b, &["sync", "a", "--at", NO_TCP])["received"], 1);
    // A device can be cloned over the channel of its pairing.
    let (c, (pairing, code, _)) =
        (Device::without_snapshot(), a.pair(&["--iroh", "--yes", "--grant", "import"]));
    let done = c.ok_with(&["clone", "--join", NO_TCP, "--json"], code.as_bytes());
    assert_eq!(one_line(&done)["received"], 1, "{done}");
    assert_eq!(pairing.end().stderr, "gave 1 entry\n");
    // Without the option, nothing listens there.
    let (mut pairing, code, _) = a.pair(&[]);
    let done = b.run(&["pair", "--join", NO_TCP], code.as_bytes());
    let said = format!("error: can't reach {NO_TCP}: nobody listens there; nothing was changed\n");
    assert!(done.exit == PEER && done.stderr.starts_with(&said), "{}", done.stderr);
    pairing.kill();
}

/// An agent that serves listens over QUIC too, while the snapshot is unlocked.
#[test]
fn an_agent_is_reached_too() {
    let (a, b) = devices();
    let args = ["agent", "--serve", "--iroh", "--listen", "127.0.0.1:0", "--no-announce", "--json"];
    let mut agent = Running::start(&mut a.keyless(&args), b"");
    agent.event();
    a.ok(&["unlock"]);
    agent.event();
    assert_eq!(agent.event()["iroh"], "listening");
    assert_eq!(way(&json(&b, &["sync", "a", "--at", NO_TCP])), "direct");
    a.ok(&["lock"]);
    assert_eq!(agent.end().exit, 0);
    unreached(&b, &["sync", "a", "--at", NO_TCP]);
    for wrong in [&["agent", "--iroh"][..], &["agent", "--serve", "--relay", "https://relay.example"]] {
        a.fails(wrong, USAGE);
    }
}

/// A server that is told to stop during a session lets it end; whatever was cut goes on later.
#[test]
fn a_server_that_stops_during_a_session_loses_nothing() {
    let (a, b) = devices();
    let (mut vault, mut ended_in_order) = (a.vault(), 0);
    for (round, delay) in [0, 100, 300, 600].into_iter().enumerate() {
        let written = vault.update(|stronghold| {
            for number in 0..3_000 {
                let location = format!("many/{round}/{number}").parse().unwrap();
                stronghold.write(&location, &[7; 500], Labels::new(), Timestamp::from_millis(1))?;
            }
            Ok(())
        });
        written.unwrap();
        let (serving, _) = serve(&a, &[]);
        let mut syncing = Running::start(&mut command(&b, &["sync", "a", "--at", NO_TCP, "--json"]), b"");
        thread::sleep(Duration::from_millis(100 + delay));
        let (begun, is_running) = (Instant::now(), !syncing.has_ended());
        signal(serving.id(), if round % 2 == 0 { Signal::TERM } else { Signal::INT });
        let served = serving.end();
        assert_eq!((served.exit, served.stderr.as_str()), (0, ""));
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        let (done, told) = (syncing.end(), String::from_utf8(served.stdout).unwrap());
        let is_told = told.contains("\"session\":\"done\"");
        assert_eq!(done.exit, if is_told { 0 } else { PEER }, "{told}: {}", done.stderr);
        ended_in_order += u32::from(is_running && is_told);
        let (_serving, _) = serve(&a, &[]);
        json(&b, &["sync", "a", "--at", NO_TCP]);
        assert_eq!(a.entries(), b.entries(), "round {round}");
    }
    assert!(ended_in_order > 0, "no session was running when its server was stopped");
}

/// Nothing but the addresses of the peer gets a packet, whether it is there or not.
#[cfg(target_os = "linux")]
#[test]
fn nobody_else_is_contacted() {
    let Some(alone) = nat::Alone::new() else { return };
    let (a, b) = devices();
    let args = ["serve", "--listen", "127.0.0.1:0", "--json", "--iroh", "--no-announce"];
    let mut serving = Running::start(&mut alone.place(&command(&a, &args)), b"");
    assert!(serving.event()["listening"].is_string());
    assert_eq!(serving.event()["iroh"], "listening");
    let sync = command(&b, &["sync", "a", "--at", NO_TCP, "--json"]);
    let done = run(&mut alone.place(&sync), b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert_eq!(way(&one_line(&String::from_utf8(done.stdout).unwrap())), "direct");
    drop(serving);
    // It is nowhere; its known address is on this machine.
    let done = run(&mut alone.place(&command(&b, &["sync", "a"])), b"");
    assert_eq!(done.exit, PEER, "{}", done.stderr);
    assert_eq!(alone.sent(), 0, "packets left for other machines");
    alone.send_one();
    assert!(alone.sent() > 0, "packets are counted");
}

#[test]
fn tcp_is_the_first_way() {
    let (a, b) = devices();
    let args = ["serve", "--listen", "127.0.0.1:0", "--json", "--iroh"];
    let mut serving = a.start(&args, b"");
    let at = serving.event()["listening"].as_str().unwrap().to_owned();
    assert_eq!(way(&json(&b, &["sync", "a", "--at", &at])), "tcp");
}

#[test]
fn a_device_that_is_nowhere_is_told_in_time() {
    let (a, b) = devices();
    let (serving, _) = serve(&a, &[]);
    drop(serving);
    let said = unreached(&b, &["sync", "a", "--at", NO_TCP]);
    assert_eq!(
        said,
        format!(
            "error: can't reach {NO_TCP}: nobody listens there; nothing was changed\n\
             hint: is `stronghold serve` or `stronghold pair` running there? Say where with --at or --join\n"
        )
    );
}

/// Another device's endpoint at the peer's port is not mistaken for it.
#[test]
fn another_device_in_its_place_is_not_the_peer() {
    let (a, b) = devices();
    let (serving, port) = serve(&a, &[]);
    drop(serving);
    let (c, _d) = devices();
    // The port of the pair is not that of another pair: what answers there was moved there.
    let (_serving, other) = serve(&c, &[]);
    let forward = Forward::start(port, other);
    let said = unreached(&b, &["sync", "a", "--at", NO_TCP]);
    assert!(said.contains(&format!("over QUIC, not the device answers at 127.0.0.1:{port}; ")), "{said}");
    assert!(forward.carried() > 0, "the other endpoint was asked");
    // It does not hide the peer that is at a relay.
    let Some(relay) = relay_for([&a, &b]) else { return };
    let (mut serving, _) = serve(&a, &["--relay", &relay.url]);
    is_at_the_relay(&mut serving, &relay);
    let done = json(&b, &["sync", "a", "--relay", &relay.url]);
    assert!(["relay", "direct"].contains(&way(&done)), "{done}");
}

#[test]
fn a_revoked_device_is_no_longer_listened_for() {
    let (a, b) = devices();
    let (_serving, _) = serve(&a, &[]);
    assert_eq!(way(&json(&b, &["sync", "a", "--at", NO_TCP])), "direct");
    a.ok(&["revoke", "b"]);
    thread::sleep(Duration::from_secs(3));
    unreached(&b, &["sync", "a", "--at", NO_TCP]);
}

#[test]
fn relays_are_addresses_and_stand_in_the_configuration() {
    let (a, b) = paired();
    for wrong in ["relay.example", "ftp://relay.example", "https://relay.example/path"] {
        let said = b.fails(&["sync", "a", "--relay", wrong], USAGE);
        assert!(
            said.starts_with(&format!(
                "error: a relay is an address such as https://relay.example: {wrong}\n"
            )),
            "{said}"
        );
    }
    a.fails(&["serve", "--relay", "https://relay.example"], USAGE);
    let file = b.file("config.toml", b"relay = ['https://relay.example']\nrelay-ca = 'ca.pem'\n");
    let mut command = b.command(&["config"]);
    let done = run(command.env("STRONGHOLD_CONFIG", &file), b"");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("relay                   https://relay.example  (file)\n"), "{said}");
    let ca = b.folder().join("ca.pem").display().to_string();
    assert!(said.contains(&format!("relay-ca                {ca}  (file)\n")), "{said}");
}

/// Carries datagrams from a port to another, and back to whoever sent the last one.
struct Forward {
    carried: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Forward {
    fn start(from: u16, to: u16) -> Self {
        let (carried, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ends) = (carried.clone(), stop.clone());
        let socket = UdpSocket::bind(("127.0.0.1", from)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let thread = thread::spawn(move || {
            let (mut asked, mut bytes) = (None, vec![0; 1 << 16]);
            while !ends.load(Relaxed) {
                let Ok((length, sender)) = socket.recv_from(&mut bytes) else { continue };
                let there = SocketAddr::from(([127, 0, 0, 1], to));
                let receiver = if sender == there {
                    asked
                } else {
                    asked = Some(sender);
                    Some(there)
                };
                count.fetch_add(1, Relaxed);
                if let Some(receiver) = receiver {
                    let _ = socket.send_to(&bytes[..length], receiver);
                }
            }
        });
        Self { carried, stop, thread: Some(thread) }
    }

    fn carried(&self) -> u64 {
        self.carried.load(Relaxed)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A relay in a process of its own, stopped on drop.
struct Relay {
    child: Child,
    url: String,
}

impl Relay {
    /// Starts a relay at this address; returns `None` where it was not built.
    fn start(ip: &str, certificate: &str) -> Option<Self> {
        Self::start_by(Command::new(Self::program()?), ip, certificate)
    }

    /// Returns the program that `cargo xtask nightly` builds for these tests.
    fn program() -> Option<PathBuf> {
        let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/relay/debug/test-relay");
        let program = std::env::var_os("STRONGHOLD_TEST_RELAY").map_or(built, PathBuf::from);
        if !program.exists() {
            eprintln!("skipped: there is no relay at {}", program.display());
            return None;
        }
        Some(program)
    }

    fn start_by(mut command: Command, ip: &str, certificate: &str) -> Option<Self> {
        command.args([ip, certificate]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("https://"), "the relay does not start");
        Some(Self { child, url: url.trim().to_owned() })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes both devices trust the relay's certificate; returns it.
fn relay_for(devices: [&Device; 2]) -> Option<Relay> {
    let certificate = devices[0].folder().join("ca.pem");
    let relay = Relay::start("127.0.0.1", certificate.to_str().unwrap())?;
    for device in devices {
        let config = format!("relay-ca = '{}'\n", certificate.display());
        device.file("config.toml", config.as_bytes());
    }
    Some(relay)
}

/// Takes the port at which the first device listens for its only peer, so that only a relay finds
/// it at the one that it takes instead.
fn hide(a: &Device) -> UdpSocket {
    let (serving, port) = serve(a, &[]);
    drop(serving);
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        match UdpSocket::bind(("127.0.0.1", port)) {
            Ok(socket) => return socket,
            Err(error) => assert!(Instant::now() < give_up, "{error}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a served device is at the relay.
#[track_caller]
fn is_at_the_relay(serving: &mut Running, relay: &Relay) {
    let event = serving.event();
    assert_eq!((event["iroh"].as_str(), event["relay"].as_str()), (Some("relay"), Some(&*relay.url)));
}

#[test]
fn two_devices_meet_at_a_relay() {
    let (a, b) = devices();
    let Some(relay) = relay_for([&a, &b]) else { return };
    let _hidden = hide(&a);
    let (mut serving, _) = serve(&a, &["--relay", &relay.url]);
    is_at_the_relay(&mut serving, &relay);
    // Without the relay, its port is not known.
    let said = unreached(&b, &["sync", "a"]);
    assert!(!said.contains("QUIC"), "{said}");
    let done = json(&b, &["sync", "a", "--relay", &relay.url]);
    // Once they have met there, they go on directly, if they are quick.
    assert!(["relay", "direct"].contains(&way(&done)), "{done}");
    assert_eq!(a.entries(), b.entries());
    assert!(done.get("relay").is_none_or(|by| *by == *relay.url), "{done}");
    // The configuration can name it.
    a.put("wallet/web/new", "of a");
    let config = format!("relay-ca = '{}/ca.pem'\nrelay = ['{}']\n", a.folder().display(), relay.url);
    b.file("config.toml", config.as_bytes());
    let done = json(&b, &["fetch", "a", "wallet/web/new"]);
    assert_eq!(done["received"], 1, "{done}");
}

#[test]
fn a_device_that_is_not_at_the_relay_is_told_in_time() {
    let (a, b) = devices();
    let Some(relay) = relay_for([&a, &b]) else { return };
    let said = unreached(&b, &["sync", "a", "--relay", &relay.url]);
    let end = format!(
        "over QUIC, the device is not at the relay {}; nothing was changed\n\
         hint: is `stronghold serve --iroh` running there, with the same relay? Say where with --at\n",
        relay.url
    );
    assert!(said.starts_with("error: can't reach 127.0.0.1:") && said.ends_with(&end), "{said}");
}

#[test]
fn a_relay_that_is_stopped_or_none_is_told_in_time() {
    let (a, b) = devices();
    let Some(relay) = relay_for([&a, &b]) else { return };
    let stopped = relay.url.clone();
    let _hidden = hide(&a);
    let (mut serving, _) = serve(&a, &["--relay", &stopped]);
    is_at_the_relay(&mut serving, &relay);
    drop(relay);
    let no_relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let none = format!("https://{}", no_relay.local_addr().unwrap());
    for url in [stopped, none] {
        let said = unreached(&b, &["sync", "a", "--relay", &url]);
        let told = format!("; over QUIC, the relay {url} can't be reached; nothing was changed\nhint: ");
        assert!(said.contains(&told), "{said}");
    }
    // The device that serves tells it too.
    assert_eq!(serving.event()["iroh"], "no_relay");
}
