//! Two networks, each behind a router that translates addresses, and a relay between them. Needs
//! root, iproute2 and iptables; elsewhere it is skipped with a message.

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Relay, command, devices, way};
use crate::common::{Device, Running, one_line, run};

/// Address of the relay.
const RELAY: &str = "203.0.113.1";

/// The namespaces: the net with the relay, two routers, and a device behind each. Removed on drop.
struct Nets {
    name: String,
}

/// Treatment of a device's port by the routers.
#[derive(Clone, Copy, PartialEq)]
enum Nat {
    /// It stays the same for all whom the device sends to; only those can answer.
    PortRestricted,
    /// It is another one for each.
    Symmetric,
}

impl Nets {
    /// Returns `None` if namespaces can't be created or addresses not translated.
    fn new(nat: Nat) -> Option<Self> {
        static NETS: AtomicU64 = AtomicU64::new(0);
        let nets = Self { name: format!("sh{}n{}", std::process::id(), NETS.fetch_add(1, Relaxed)) };
        let net = nets.namespace("net");
        nets.ip(&["netns", "add", &net])?;
        nets.ip(&["-n", &net, "link", "add", "wan", "type", "bridge"])?;
        nets.ip(&["-n", &net, "link", "set", "wan", "up"])?;
        nets.ip(&["-n", &net, "link", "set", "lo", "up"])?;
        nets.ip(&["-n", &net, "addr", "add", &format!("{RELAY}/24"), "dev", "wan"])?;
        for (device, number) in [("a", 1), ("b", 2)] {
            nets.add(device, number, nat)?;
        }
        Some(nets)
    }

    /// Adds a router with a network behind it, and a device in that.
    fn add(&self, device: &str, number: u8, nat: Nat) -> Option<()> {
        let (net, router) = (self.namespace("net"), self.namespace(&format!("r{device}")));
        let (own, uplink) = (self.namespace(device), format!("up{device}"));
        for namespace in [&router, &own] {
            self.ip(&["netns", "add", namespace])?;
            self.ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        self.ip(&[
            "-n", &router, "link", "add", "wan", "type", "veth", "peer", "name", &uplink, "netns", &net,
        ])?;
        self.ip(&["-n", &net, "link", "set", "dev", &uplink, "master", "wan", "up"])?;
        self.ip(&[
            "-n", &router, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", &own,
        ])?;
        self.ip(&["-n", &router, "addr", "add", &format!("203.0.113.{}/24", 10 + number), "dev", "wan"])?;
        self.ip(&["-n", &router, "addr", "add", &format!("10.{number}.0.1/16"), "dev", "lan"])?;
        self.ip(&["-n", &own, "addr", "add", &format!("10.{number}.0.2/16"), "dev", "eth0"])?;
        for (namespace, link) in [(&router, "wan"), (&router, "lan"), (&own, "eth0")] {
            self.ip(&["-n", namespace, "link", "set", link, "up"])?;
        }
        self.ip(&["-n", &own, "route", "add", "default", "via", &format!("10.{number}.0.1")])?;
        self.within(&router, &["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        let translate = ["-t", "nat", "-A", "POSTROUTING", "-o", "wan", "-j", "MASQUERADE"];
        let random: &[&str] = if nat == Nat::Symmetric { &["--random-fully"] } else { &[] };
        self.tables(&router, &[&translate[..], random].concat())?;
        for chain in ["INPUT", "FORWARD"] {
            self.tables(&router, &["-P", chain, "DROP"])?;
            self.tables(&router, &["-A", chain, "-i", "lan", "-j", "ACCEPT"])?;
            let answers = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"];
            self.tables(&router, &[&["-A", chain][..], &answers].concat())?;
        }
        Some(())
    }

    fn namespace(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    fn ip(&self, args: &[&str]) -> Option<()> {
        ip(args)
    }

    fn within(&self, namespace: &str, args: &[&str]) -> Option<()> {
        self.ip(&[&["netns", "exec", namespace], args].concat())
    }

    fn tables(&self, namespace: &str, args: &[&str]) -> Option<()> {
        self.within(namespace, &[&["iptables"], args].concat())
    }

    /// Moves a command into the namespace of a device.
    fn place(&self, at: &str, command: &Command) -> Command {
        placed(&self.namespace(at), command)
    }

    /// Gives the device another address, as in another network.
    fn renumber(&self, device: &str, number: u8) {
        let own = self.namespace(device);
        self.ip(&["-n", &own, "addr", "flush", "dev", "eth0"]).unwrap();
        self.ip(&["-n", &own, "addr", "add", &format!("10.{number}.7.7/16"), "dev", "eth0"]).unwrap();
        self.ip(&["-n", &own, "route", "add", "default", "via", &format!("10.{number}.0.1")]).unwrap();
    }
}

impl Drop for Nets {
    fn drop(&mut self) {
        for of in ["a", "b", "ra", "rb", "net"] {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(of)]).output();
        }
    }
}

/// Runs `ip`; returns `None` if it fails.
fn ip(args: &[&str]) -> Option<()> {
    let done = Command::new("ip").args(args).output().ok()?;
    if !done.status.success() {
        eprintln!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    done.status.success().then_some(())
}

/// Moves a command into a namespace.
fn placed(namespace: &str, command: &Command) -> Command {
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", namespace]);
    started_by(inside, command)
}

/// Appends a command, with its environment and folder, to the arguments of another that starts it.
fn started_by(mut starter: Command, command: &Command) -> Command {
    starter.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => starter.env(name, value),
            None => starter.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        starter.current_dir(folder);
    }
    starter
}

/// A machine from which all packets for others leave by a link that counts them and leads nowhere.
/// Removed on drop.
pub(super) struct Alone {
    name: String,
    folder: tempfile::TempDir,
}

impl Alone {
    /// Returns `None` if a namespace can't be created.
    pub(super) fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let alone = Self { name: format!("sh{}-alone", std::process::id()), folder };
        let made = alone.make();
        if made.is_none() {
            eprintln!("skipped: a network can't be made here: it takes root and ip");
        }
        made.map(|()| alone)
    }

    fn make(&self) -> Option<()> {
        let own = &*self.name;
        ip(&["netns", "add", own])?;
        ip(&["netns", "exec", own, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])?;
        ip(&["netns", "exec", own, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])?;
        ip(&["-n", own, "link", "set", "lo", "up"])?;
        ip(&["-n", own, "link", "add", "out", "type", "veth", "peer", "name", "nowhere"])?;
        ip(&["-n", own, "link", "set", "nowhere", "up"])?;
        ip(&["-n", own, "addr", "add", "10.99.0.2/24", "dev", "out"])?;
        ip(&["-n", own, "link", "set", "out", "up"])?;
        ip(&["-n", own, "route", "add", "default", "via", "10.99.0.1"])
    }

    /// Moves a command onto the machine, whose name server is another one.
    pub(super) fn place(&self, command: &Command) -> Command {
        let names = self.folder.path().join("resolv.conf");
        std::fs::write(&names, "nameserver 192.0.2.53\n").unwrap();
        let mut inside = Command::new("sh");
        inside.args(["-c", r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#]).arg(names);
        placed(&self.name, &started_by(inside, command))
    }

    /// Returns the number of packets that left.
    pub(super) fn sent(&self) -> u64 {
        let mut read = Command::new("cat");
        read.arg("/sys/class/net/out/statistics/tx_packets");
        let text = self.place(&read).output().unwrap().stdout;
        String::from_utf8(text).unwrap().trim().parse().unwrap()
    }

    /// Sends a packet to a public address.
    pub(super) fn send_one(&self) {
        let mut send = Command::new("bash");
        send.args(["-c", "echo > /dev/udp/192.0.2.1/53"]);
        assert!(self.place(&send).status().unwrap().success());
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Two devices in their networks, with the relay that they know; `a` serves.
struct Apart {
    a: Device,
    b: Device,
    serving: Running,
    relay: Relay,
    nets: Nets,
}

impl Apart {
    /// Returns `None` if a part of it is missing on this machine.
    fn new(nat: Nat) -> Option<Self> {
        let program = Relay::program()?;
        let Some(nets) = Nets::new(nat) else {
            eprintln!("skipped: networks can't be made here: it takes root, ip and iptables");
            return None;
        };
        let (a, b) = devices();
        let certificate = a.folder().join("ca.pem");
        let inside = nets.place("net", &Command::new(program));
        let relay = Relay::start_by(inside, RELAY, certificate.to_str().unwrap())?;
        for device in [&a, &b] {
            let config = format!("relay = ['{}']\nrelay-ca = '{}'\n", relay.url, certificate.display());
            device.file("config.toml", config.as_bytes());
        }
        let serve = command(&a, &["serve", "--json", "--iroh", "--no-announce"]);
        let mut serving = Running::start(&mut nets.place("a", &serve), b"");
        assert!(serving.event()["listening"].is_string());
        assert_eq!(serving.event()["iroh"], "listening");
        assert_eq!(serving.event()["relay"], *relay.url);
        Some(Self { a, b, serving, relay, nets })
    }

    fn sync(&self) -> Result<Value, String> {
        let sync = command(&self.b, &["sync", "a", "--json"]);
        let done = run(&mut self.nets.place("b", &sync), b"");
        match done.exit {
            0 => Ok(one_line(&String::from_utf8(done.stdout).unwrap())),
            _ => Err(done.stderr),
        }
    }
}

#[test]
fn through_port_restricted_nats_a_sync_goes_directly_and_again_after_a_change_of_network() {
    let Some(mut apart) = Apart::new(Nat::PortRestricted) else { return };
    assert_eq!(way(&apart.sync().unwrap()), "direct");
    assert_eq!(apart.a.entries(), apart.b.entries());
    // The serving device gets another address; it is found again, without being told of it.
    apart.nets.renumber("a", 1);
    apart.a.put("wallet/web/new", "of a");
    let give_up = Instant::now() + Duration::from_secs(90);
    let done = loop {
        match apart.sync() {
            Ok(done) => break done,
            Err(said) => assert!(Instant::now() < give_up, "{said}"),
        }
        thread::sleep(Duration::from_secs(1));
    };
    assert_eq!((done["received"].as_u64(), done["way"].as_str()), (Some(1), Some("direct")), "{done}");
    assert!(!apart.serving.has_ended());
}

#[test]
fn through_symmetric_nats_a_sync_goes_through_the_relay() {
    let Some(apart) = Apart::new(Nat::Symmetric) else { return };
    let done = apart.sync().unwrap();
    assert_eq!((way(&done), done["relay"].as_str()), ("relay", Some(&*apart.relay.url)));
    assert_eq!(apart.a.entries(), apart.b.entries());
}

#[test]
fn two_devices_pair_at_the_relay() {
    let Some(apart) = Apart::new(Nat::Symmetric) else { return };
    let (c, relay) = (Device::new("c"), apart.relay.url.as_str());
    c.file("config.toml", &std::fs::read(apart.b.folder().join("config.toml")).unwrap());
    let listen = command(&apart.a, &["pair", "--json", "--iroh"]);
    let mut pairing = Running::start(&mut apart.nets.place("a", &listen), b"");
    let event = pairing.event();
    let code = event["code"].as_str().unwrap().to_owned();
    let join = command(&c, &["pair", "--join", "--relay", relay]);
    let done = run(&mut apart.nets.place("b", &join), code.as_bytes());
    assert_eq!(done.exit, 0, "{}", done.stderr);
    let done = pairing.end();
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert!(done.stderr.contains(&format!("note: to be found at the relay {relay}\n")), "{}", done.stderr);
}
