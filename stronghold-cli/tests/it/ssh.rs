//! Tests `ssh-agent` with the real clients: `ssh-add` lists the keys, `ssh-keygen` signs with them.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "it says why it is skipped")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::common::{Device, Ended, IN_USE, Running, at_terminal_with, end, run};

/// A device with keys of four kinds.
struct Stage {
    device: Device,
}

impl Stage {
    /// Returns `None`, and says so, where there is no OpenSSH.
    fn new() -> Option<Self> {
        if Command::new("ssh-add").arg("-l").output().is_err() {
            eprintln!("skipped: there is no ssh-add");
            return None;
        }
        let stage = Self { device: Device::with_passphrase("a", "correct horse\n") };
        for (name, kind, passphrase) in [
            ("ed", &["-t", "ed25519"][..], ""),
            ("ec", &["-t", "ecdsa", "-b", "256"], ""),
            ("rsa", &["-t", "rsa", "-b", "2048"], ""),
            ("sealed", &["-t", "ed25519"], "its own"),
        ] {
            stage.make_key(name, kind, passphrase);
            stage.device.ok(&["put", &format!("w/ssh/{name}"), "--file", &stage.path(name)]);
        }
        stage.device.put("w/web/mail", "no key");
        Some(stage)
    }

    fn make_key(&self, name: &str, kind: &[&str], passphrase: &str) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-C", name, "-N", passphrase, "-f", &self.path(name)]).args(kind);
        assert_eq!(run(&mut command, b"").exit, 0);
    }

    fn path(&self, name: &str) -> String {
        self.device.folder().join(name).to_str().unwrap().to_owned()
    }

    /// Starts an agent; returns it with its socket.
    fn agent(&self, args: &[&str]) -> (Running, String) {
        Self::started(&mut self.device.command(&[&["ssh-agent", "--json"], args].concat()))
    }

    /// Starts an agent that asks before each use, with `program` as $SSH_ASKPASS.
    fn asking(&self, program: &str) -> (Running, String) {
        Self::started(self.device.command(&["ssh-agent", "--json", "--confirm"]).env("SSH_ASKPASS", program))
    }

    fn started(command: &mut Command) -> (Running, String) {
        let mut agent = Running::start(command, b"");
        let socket = agent.event()["listening"].as_str().unwrap().to_owned();
        (agent, socket)
    }

    /// Signs a file with the private half of a public key, by the agent, and checks the signature.
    fn sign(&self, socket: &str, name: &str) -> Ended {
        let (public, message) = (format!("{}.pub", self.path(name)), self.path("message"));
        fs::write(&message, "signed").unwrap();
        let _ = fs::remove_file(format!("{message}.sig"));
        // The private half is in the vault alone.
        let hidden = self.path("hidden");
        fs::rename(self.path(name), &hidden).unwrap();
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "sign", "-f", &public, "-n", "test", &message]).env("SSH_AUTH_SOCK", socket);
        let done = run(&mut command, b"");
        fs::rename(hidden, self.path(name)).unwrap();
        if done.exit == 0 {
            let allowed = self
                .device
                .file("allowed", format!("me {}", fs::read_to_string(&public).unwrap()).as_bytes());
            let signature = format!("{message}.sig");
            let mut check = Command::new("ssh-keygen");
            check.args(["-Y", "verify", "-f", &allowed, "-I", "me", "-n", "test", "-s", &signature]);
            assert_eq!(run(&mut check, b"signed").exit, 0);
        }
        done
    }
}

/// Returns the comments of the keys that an agent lists.
fn listed(socket: &str) -> Vec<String> {
    let done = run(Command::new("ssh-add").arg("-L").env("SSH_AUTH_SOCK", socket), b"");
    let text = String::from_utf8(done.stdout).unwrap();
    let keys = text.lines().filter(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-"));
    keys.filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect()
}

#[test]
fn keys_are_listed_and_sign_as_they_are_in_the_vault() {
    let Some(stage) = Stage::new() else { return };
    let (agent, socket) = stage.agent(&[]);
    let found = fs::metadata(&socket).unwrap();
    assert!(found.file_type().is_socket() && found.permissions().mode() & 0o777 == 0o600);
    assert_eq!(listed(&socket), ["w/ssh/ec", "w/ssh/ed"]);
    for name in ["ed", "ec"] {
        let done = stage.sign(&socket, name);
        assert_eq!(done.exit, 0, "{name}: {}", done.stderr);
    }
    for name in ["rsa", "sealed"] {
        assert_ne!(stage.sign(&socket, name).exit, 0, "{name}");
    }
    // A key that comes or goes does so at once.
    stage.device.ok(&["remove", "w/ssh/ed", "--yes"]);
    assert_eq!(listed(&socket), ["w/ssh/ec"]);
    assert_ne!(stage.sign(&socket, "ed").exit, 0);
    stage.make_key("new", &["-t", "ed25519"], "");
    stage.device.ok(&["put", "w/ssh/new", "--file", &stage.path("new")]);
    assert_eq!(listed(&socket), ["w/ssh/ec", "w/ssh/new"]);
    assert_eq!(stage.sign(&socket, "new").exit, 0);
    // One key in 512 is shorter than the others.
    for name in ["short", "short.pub"] {
        let key = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/ssh-keys").join(name));
        fs::write(stage.path(name), key.unwrap()).unwrap();
    }
    stage.device.ok(&["put", "w/ssh/short", "--file", &stage.path("short")]);
    assert_eq!(listed(&socket), ["w/ssh/ec", "w/ssh/new", "w/ssh/short"]);
    assert_eq!(stage.sign(&socket, "short").exit, 0);
    // Keys are put into the vault by `stronghold put`, not by a client.
    let added = run(Command::new("ssh-add").arg(stage.path("ed")).env("SSH_AUTH_SOCK", &socket), b"");
    assert_ne!(added.exit, 0);
    assert!(stage.device.fails(&["ssh-agent"], IN_USE).contains("an agent for SSH runs"));
    assert_eq!(run(Command::new("kill").arg(agent.id().to_string()), b"").exit, 0);
    let done = agent.end();
    assert_eq!((done.exit, Path::new(&socket).exists()), (0, false), "{}", done.stderr);
    assert!(
        done.stderr.contains("w/ssh/rsa is not offered: it is neither an Ed25519 key"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("w/ssh/sealed is not offered: it has a passphrase of its own"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_program_has_the_agent_for_its_time() {
    let Some(stage) = Stage::new() else { return };
    let args =
        ["ssh-agent", "--select", "w/ssh/e*", "--", "sh", "-c", "ssh-add -L; echo $SSH_AUTH_SOCK; exit 7"];
    let (before, after) = args.split_at(3);
    let mut with_key = stage.device.command(before);
    let done = run(with_key.args(after), b"");
    assert_eq!(done.exit, 7, "{}", done.stderr);
    let said = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 3 && lines[0].ends_with(" w/ssh/ec") && lines[1].ends_with(" w/ssh/ed"), "{said}");
    assert!(!Path::new(lines[2]).exists());
    let left = fs::read_dir(stage.device.runtime()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.contains("-ssh")), "{left:?}");
}

#[test]
fn a_locked_vault_has_no_keys() {
    let Some(stage) = Stage::new() else { return };
    stage.device.ok(&["unlock"]);
    let (_agent, socket) = Stage::started(&mut stage.device.keyless(&["ssh-agent", "--json"]));
    assert_eq!(listed(&socket), ["w/ssh/ec", "w/ssh/ed"]);
    assert_eq!(stage.sign(&socket, "ed").exit, 0);
    stage.device.ok(&["lock"]);
    assert!(listed(&socket).is_empty());
    assert_ne!(stage.sign(&socket, "ed").exit, 0);
    stage.device.ok(&["unlock"]);
    assert_eq!(stage.sign(&socket, "ed").exit, 0);
    stage.device.ok(&["lock"]);
}

#[test]
fn each_use_is_asked_about() {
    let Some(stage) = Stage::new() else { return };
    for (answer, exit) in [("exit 0", 0), ("exit 1", 255)] {
        let script =
            format!("#!/bin/sh\necho \"$SSH_ASKPASS_PROMPT: $1\" >> {}\n{answer}\n", stage.path("asked"));
        let program = stage.device.file("ask", script.as_bytes());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let (_agent, socket) = stage.asking(&program);
        assert_eq!(listed(&socket).len(), 2);
        assert_eq!(stage.sign(&socket, "ed").exit, exit, "{answer}");
        let asked = fs::read_to_string(stage.path("asked")).unwrap();
        assert!(asked.starts_with("confirm: Sign with w/ssh/ed for ssh-keygen ("), "{asked}");
        fs::remove_file(stage.path("asked")).unwrap();
    }
    // With nobody to ask, the answer is no.
    let (_agent, socket) = stage.asking("");
    assert_ne!(stage.sign(&socket, "ed").exit, 0);
}

#[test]
fn the_person_at_the_terminal_is_asked() {
    use expectrl::Expect;
    let Some(stage) = Stage::new() else { return };
    let (public, message) = (format!("{}.pub", stage.path("ed")), stage.path("message"));
    fs::write(&message, "signed").unwrap();
    fs::remove_file(stage.path("ed")).unwrap();
    let passphrase = stage.path("passphrase");
    let agent = ["ssh-agent", "--confirm", "--passphrase-file", &passphrase];
    // The option that names the snapshot comes last, so the program is a shell that takes no note of it.
    let script = format!("ssh-keygen -Y sign -f {public} -n test {message}");
    for (answer, is_signed) in [("n", false), ("y", true)] {
        let snapshot = stage.device.snapshot();
        let args =
            [&agent[..], &["--snapshot", snapshot.to_str().unwrap(), "--", "sh", "-c", &script]].concat();
        let mut session = at_terminal_with(&stage.device, &args, &[("SSH_ASKPASS", "")]);
        session.expect("Sign with w/ssh/ed for ssh-keygen (").unwrap();
        session.send_line(answer).unwrap();
        let (exit, said) = end(session);
        assert_eq!(
            (exit == 0, Path::new(&format!("{message}.sig")).exists()),
            (is_signed, is_signed),
            "{said}"
        );
    }
}

#[test]
fn hostile_messages_end_their_connection_alone() {
    let Some(stage) = Stage::new() else { return };
    let (_agent, socket) = stage.agent(&[]);
    for bytes in
        [&[0xff; 8][..], &[0, 0, 0, 1], &[0, 0, 0, 0], &[0, 0, 0, 5, 13, 0xff, 0xff, 0xff, 0xff], &[0; 3]]
    {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.is_empty(), "{bytes:?}");
    }
    let mut open: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    // One more than it serves is turned away, and served when others have left.
    open.clear();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(listed(&socket).len(), 2);
}
