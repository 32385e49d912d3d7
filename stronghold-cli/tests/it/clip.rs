//! `get --clip`: a value in the clipboard of a display, for a while; and over the terminal.
#![cfg(target_os = "linux")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use expectrl::Expect;

use crate::common::{Device, USAGE, end, redirected, run};

const SECRET: &str = "canary-clip-77aa01";

/// An X server without a screen, stopped on drop.
struct Display(Child, String);

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Display {
    /// Starts a server; `None` if the programs for that are not there.
    fn start() -> Option<Self> {
        Command::new("xclip").arg("-version").stderr(Stdio::null()).status().ok()?;
        let mut server = Command::new("Xvfb");
        server.args(["-displayfd", "1", "-nolisten", "tcp"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.spawn().ok()?;
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        Some(Self(server, format!(":{}", number.trim())))
    }

    fn xclip(&self, args: &[&str]) -> Command {
        let mut xclip = Command::new("xclip");
        xclip.args(["-selection", "clipboard"]).args(args).env("DISPLAY", &self.1);
        xclip
    }

    /// Returns what is in the clipboard.
    fn held(&self) -> String {
        String::from_utf8(self.xclip(&["-o"]).output().unwrap().stdout).unwrap()
    }

    fn hold(&self, text: &str) {
        let mut xclip = self.xclip(&["-i"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        xclip.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        xclip.wait().unwrap();
    }

    fn waits_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.held() != text {
            assert!(Instant::now() < deadline, "the clipboard has {:?}", self.held());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_value_is_in_the_clipboard_for_its_time_and_only_that_is_cleared() {
    let Some(display) = Display::start() else {
        eprintln!("skipped: there is no Xvfb, or no xclip");
        return;
    };
    let device = Device::new("own");
    device.put("wallet/web/mail", SECRET);
    let clip = |time: &str| {
        let mut get = device.command(&["get", "wallet/web/mail", time]);
        let done = run(get.env("DISPLAY", &display.1).env_remove("WAYLAND_DISPLAY"), b"");
        assert_eq!((done.exit, &*done.stdout), (0, b"".as_slice()), "{}", done.stderr);
        done.stderr
    };
    assert_eq!(clip("--clip=1s"), "copied wallet/web/mail; the clipboard is cleared in 1 s\n");
    assert_eq!(display.held(), SECRET);
    crate::canary::no_process_names(SECRET);
    display.waits_for("");
    // Another program's text stays.
    clip("--clip=1s");
    display.hold("of another program");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(display.held(), "of another program");
    assert_eq!(clip("-c"), "copied wallet/web/mail; the clipboard is cleared in 45 s\n");
    assert_eq!(display.held(), SECRET);
    display.hold("the end of that");
    display.waits_for("the end of that");
}

#[test]
fn where_there_is_no_display_nothing_is_copied() {
    let device = Device::new("own");
    device.put("wallet/web/mail", SECRET);
    let mut get = device.command(&["get", "wallet/web/mail", "--clip"]);
    let done = run(get.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY"), b"");
    assert_eq!((done.exit, &*done.stdout), (1, b"".as_slice()));
    assert!(done.stderr.starts_with("error: the value can't be copied: "), "{}", done.stderr);
    assert!(done.stderr.contains("--osc52") && !done.stderr.contains(SECRET), "{}", done.stderr);
    let file = device.file("bytes", b"\xff");
    device.ok(&["put", "wallet/web/bytes", "--file", &file]);
    for option in ["--clip", "--osc52"] {
        device.fails(&["get", "wallet/web/bytes", option], USAGE);
        device.fails(&["get", "wallet/web/mail", option, "--output", "new"], USAGE);
    }
    device.fails(&["get", "wallet/web/mail", "--osc52"], USAGE);
}

#[test]
fn the_terminals_clipboard_gets_a_value_only_if_asked() {
    let device = Device::new("own");
    device.put("wallet/web/mail", "hunter2");
    let mut session = redirected(&device, &["get", "wallet/web/mail", "--osc52"], "");
    session.expect("\u{1b}]52;c;aHVudGVyMg==\u{7}").unwrap();
    let (exit, shown) = end(session);
    assert_eq!((exit, &*shown), (0, "sent wallet/web/mail to the terminal's clipboard, which keeps it\r\n"));
}
