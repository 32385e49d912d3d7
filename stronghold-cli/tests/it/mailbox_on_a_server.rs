//! Tests mailboxes on real servers, S3 and WebDAV, which are started here where they are installed:
//! two devices that never run at the same time hold the same.
#![cfg(feature = "remote")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::common::{Device, NOT_FOUND, PEER, USAGE, paired, trust_each_other};

const USER: &str = "canary-user-3141";
const PASSWORD: &str = "canary-password-2718";

/// A server over a folder of its own, stopped on drop.
struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts `rclone serve KIND`; `None` if it is not installed.
    fn start(kind: &str, args: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("place")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("rclone");
        command.args(["serve", kind, folder.path().to_str().unwrap()]).args(args);
        command.args(["--addr", &format!("127.0.0.1:{port}"), "--config", "/dev/null"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let server = Self { child, port, folder };
        let give_up = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > give_up {
                return None;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    fn webdav() -> Option<(Self, String)> {
        let server = Self::start("webdav", &["--user", USER, "--pass", PASSWORD])?;
        let address = format!("http://127.0.0.1:{}/place", server.port);
        Some((server, address))
    }

    fn s3() -> Option<(Self, String)> {
        let server = Self::start("s3", &["--auth-key", &format!("{USER},{PASSWORD}")])?;
        let address = format!("s3://place/vaults?endpoint=http://127.0.0.1:{}", server.port);
        Some((server, address))
    }

    /// Returns the lengths of all files that it keeps.
    fn lengths(&self) -> Vec<u64> {
        let (mut folders, mut found) = (vec![self.folder.path().to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push(entry.metadata().unwrap().len()),
                }
            }
        }
        found
    }
}

/// Runs a test on each kind of server, or says that it is not there.
fn on_each(test: impl Fn(&Server, &str)) {
    for started in [Server::webdav(), Server::s3()] {
        match started {
            Some((server, address)) => test(&server, &address),
            None => eprintln!("skipped: there is no rclone"),
        }
    }
}

fn with_login(device: &Device, password: &str) {
    device.put("wallet/web/cloud/username", USER);
    device.put("wallet/web/cloud/password", password);
}

#[test]
fn two_devices_that_are_never_on_together_hold_the_same() {
    on_each(|server, address| {
        let (a, b) = paired();
        trust_each_other((&a, "a"), (&b, "b"));
        for (device, peer) in [(&a, "b"), (&b, "a")] {
            with_login(device, PASSWORD);
            device.ok(&["mailbox", "add", peer, address, "--login", "wallet/web/cloud"]);
        }
        let settle = || {
            for _ in 0..3 {
                a.json(&["sync", "--mailbox", "b"]);
                b.json(&["sync", "--mailbox", "a"]);
            }
        };
        let rows = |at| format!("{at},https://example.org,user{at},secret {at},,\n");
        let table: String = (0..1_000).map(rows).collect();
        let table =
            a.file("table.csv", format!("Title,URL,Username,Password,Notes,TOTP\n{table}").as_bytes());
        a.ok(&["import", &table]);
        a.put("own/v/gone", "for a while");
        settle();
        assert!(a.locations().len() > 3_000);
        assert_eq!(a.locations(), b.locations());

        a.put("own/v/edited", "on a");
        b.put("own/v/new", "on b");
        b.ok(&["remove", "own/v/gone"]);
        a.put("own/v/both", "one");
        b.put("own/v/both", "two");
        settle();
        assert_eq!(a.locations(), b.locations());
        assert_eq!((b.get("own/v/new"), a.get("own/v/new")), ("on b".into(), "on b".into()));
        assert_eq!(a.values("own/v/both").len(), 2, "no value is lost");
        a.is_absent("own/v/gone");
        assert!(server.lengths().iter().all(|len| *len == 2_048), "cards alone stay: {:?}", server.lengths());
        // What was disclosed before the revocation stays; nothing more comes.
        a.ok(&["revoke", "b"]);
        a.put("own/v/later", "not for b");
        b.json(&["sync", "--mailbox", "a"]);
        b.is_absent("own/v/later");
    });
}

#[test]
fn each_mistake_says_what_to_do_and_shows_no_password() {
    on_each(|_, address| {
        let (a, _b) = paired();
        with_login(&a, "wrong");
        let add = |address: &str, login: &[&str], exit| {
            let done = a.run(&[&["mailbox", "add", "b", address], login].concat(), b"");
            assert_eq!(done.exit, exit, "{address} {login:?}: {}", done.stderr);
            let shown = done.stderr + &String::from_utf8_lossy(&done.stdout);
            assert!(!shown.contains(USER) && !shown.contains(PASSWORD), "{shown}");
            shown
        };
        let login = ["--login", "wallet/web/cloud"];
        let refused = add(address, &login, PEER);
        assert!(refused.contains("does not permit it: check the login"), "{refused}");
        assert!(add(address, &["--login", "wallet/web/none"], NOT_FOUND).contains("no username"));
        with_login(&a, PASSWORD);
        let away = address.replace("place", "elsewhere");
        let away = add(&away, &login, PEER);
        assert!(away.contains("no such place"), "{away}");
        add("http://127.0.0.1:1/place", &login, PEER);
        assert!(!add("https://me:secret@host/folder", &[], USAGE).contains("secret"));
        add("ftp://host/folder", &[], USAGE);
        assert_eq!(a.json(&["mailbox", "list"])["mailboxes"].as_array().unwrap().len(), 0);
        add(address, &login, 0);
    });
}
