//! Tests two devices on a LAN without any address: two network namespaces joined by a bridge in a
//! third. Needs root and iproute2; elsewhere it is skipped with a message.
#![allow(clippy::print_stderr, reason = "it says why it is skipped")]
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::common::{Device, Running, trust_each_other};
use serde_json::Value;

/// Three namespaces: one for each device, and one for the bridge. Removed on drop.
struct Lan {
    name: String,
}

impl Lan {
    /// Returns `None` if namespaces can't be created.
    fn new() -> Option<Self> {
        let lan = Self { name: format!("stronghold-{}", std::process::id()) };
        let bridge = lan.namespace("bridge");
        lan.ip(&["netns", "add", &bridge])?;
        lan.ip(&["-n", &bridge, "link", "add", "lan", "type", "bridge", "mcast_snooping", "0"])?;
        lan.ip(&["-n", &bridge, "link", "set", "lan", "up"])?;
        for (device, address) in [("a", "10.77.0.1/24"), ("b", "10.77.0.2/24")] {
            let own = lan.namespace(device);
            lan.ip(&["netns", "add", &own])?;
            lan.ip(&[
                "-n", &own, "link", "add", "eth0", "type", "veth", "peer", "name", device, "netns", &bridge,
            ])?;
            lan.ip(&["-n", &bridge, "link", "set", "dev", device, "master", "lan", "up"])?;
            lan.ip(&["-n", &own, "link", "set", "lo", "up"])?;
            lan.ip(&["-n", &own, "link", "set", "eth0", "up"])?;
            lan.ip(&["-n", &own, "addr", "add", address, "dev", "eth0"])?;
        }
        Some(lan)
    }

    fn namespace(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    /// Runs `ip`; returns `None` if it fails.
    fn ip(&self, args: &[&str]) -> Option<()> {
        let done = Command::new("ip").args(args).output().ok()?;
        if !done.status.success() {
            eprintln!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr));
        }
        done.status.success().then_some(())
    }

    /// Starts a command of a device in the namespace `at`.
    fn start(&self, at: &str, device: &Device, args: &[&str], stdin: &[u8]) -> Running {
        let command = device.command(args);
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.namespace(at)]).arg(command.get_program());
        inside.args(command.get_args()).current_dir(device.folder());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        Running::start(&mut inside, stdin)
    }

    /// Runs a command that must succeed; returns its line of JSON.
    fn json(&self, at: &str, device: &Device, args: &[&str], stdin: &[u8]) -> Value {
        let done = self.start(at, device, &[args, &["--json"]].concat(), stdin).end();
        assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
        crate::common::one_line(&String::from_utf8(done.stdout).unwrap())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for of in ["a", "b", "bridge"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(of)]).output();
        }
    }
}

#[test]
fn devices_pair_and_sync_without_an_address_and_find_each_other_again() {
    let Some(lan) = Lan::new() else {
        eprintln!("skipped: network namespaces take root and iproute2");
        return;
    };
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.put("s/v/one", "1");

    let mut pairing = lan.start("a", &a, &["pair", "--json"], b"");
    let shown = pairing.event();
    let code = shown["code"].as_str().unwrap();
    assert_eq!(shown["addresses"], serde_json::json!(["10.77.0.1:4747"]));
    let joined = lan.json("b", &b, &["pair", "--join"], code.as_bytes());
    assert_eq!(joined["name"], "a");
    assert_eq!(pairing.end().exit, 0);
    trust_each_other((&a, "a"), (&b, "b"));

    let mut serving = lan.start("a", &a, &["serve", "--json"], b"");
    assert_eq!(serving.event()["listening"], "0.0.0.0:4747");
    assert_eq!(lan.json("b", &b, &["sync", "a"], b"")["received"], 1);

    // The device changes its address, as a laptop does in another network.
    let own = lan.namespace("a");
    lan.ip(&["-n", &own, "addr", "del", "10.77.0.1/24", "dev", "eth0"]).unwrap();
    lan.ip(&["-n", &own, "addr", "add", "10.77.0.9/24", "dev", "eth0"]).unwrap();
    a.put("s/v/two", "2");
    assert_eq!(lan.json("b", &b, &["sync", "a"], b"")["received"], 1);
    assert_eq!(b.json(&["peers"])["peers"][0]["address"], "10.77.0.9:4747");

    // The device that showed the code was never told the address of the other one.
    drop(serving);
    let mut serving = lan.start("b", &b, &["serve", "--json"], b"");
    serving.event();
    b.put("s/v/three", "3");
    assert_eq!(lan.json("a", &a, &["sync", "b"], b"")["received"], 1);
    assert_eq!(a.entries(), b.entries());
}
