//! `get --clip`: a value in the clipboard of a display, for a while; and over the terminal.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, chown},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use expectrl::Expect;
use tempfile::TempDir;

use crate::common::{Device, USAGE, end, redirected, run};

const SECRET: &str = "canary-clip-77aa01";
const NOBODY: u32 = 65534;

/// A display without a screen, stopped on drop, and the programs that copy and paste there.
struct Display {
    server: Child,
    variable: (&'static str, String),
    copy: &'static [&'static str],
    paste: &'static [&'static str],
    _folder: Option<TempDir>,
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Display {
    /// Starts an X server; `None` if the programs for that are not there.
    fn x11() -> Option<Self> {
        Command::new("xclip").arg("-version").stderr(Stdio::null()).status().ok()?;
        let mut server = Command::new("Xvfb");
        server.args(["-displayfd", "1", "-nolisten", "tcp"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.spawn().ok()?;
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        Some(Self {
            server,
            variable: ("DISPLAY", format!(":{}", number.trim())),
            copy: &["xclip", "-selection", "clipboard", "-i"],
            paste: &["xclip", "-selection", "clipboard", "-o"],
            _folder: None,
        })
    }

    /// Starts a Wayland compositor without an X server; `None` if the programs for that are not
    /// there.
    fn wayland() -> Option<Self> {
        Command::new("wl-paste").arg("--version").stdout(Stdio::null()).status().ok()?;
        let folder = tempfile::tempdir().unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut server = Command::new(if is_root { "setpriv" } else { "sway" });
        if is_root {
            // The compositor refuses to run as root.
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            let nobody = NOBODY.to_string();
            server.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "sway"]);
        }
        server.args(["--config", "/dev/null"]).stdout(Stdio::null()).stderr(Stdio::null());
        server.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        server.env("XDG_RUNTIME_DIR", folder.path()).env("HOME", folder.path());
        server.env("WLR_BACKENDS", "headless").env("WLR_RENDERER", "pixman");
        let mut server = server.env("WLR_LIBINPUT_NO_DEVICES", "1").spawn().ok()?;
        let socket = folder.path().join("wayland-1");
        while !socket.exists() {
            if server.try_wait().unwrap().is_some() {
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            server,
            variable: ("WAYLAND_DISPLAY", socket.to_str().unwrap().to_owned()),
            copy: &["wl-copy"],
            paste: &["wl-paste", "--no-newline"],
            _folder: Some(folder),
        })
    }

    /// Runs a command with this display and no other.
    fn shown_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let (name, value) = &self.variable;
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env(name, value)
    }

    fn program(&self, words: &[&str]) -> Command {
        let mut program = Command::new(words[0]);
        self.shown_to(program.args(&words[1..])).stderr(Stdio::null());
        program
    }

    /// Returns what is in the clipboard.
    fn held(&self) -> String {
        String::from_utf8(self.program(self.paste).output().unwrap().stdout).unwrap()
    }

    fn hold(&self, text: &str) {
        let mut copy = self.program(self.copy);
        let mut copy = copy.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        copy.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        copy.wait().unwrap();
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
    match Display::x11() {
        Some(display) => is_held_for_its_time(&display),
        None => eprintln!("skipped: there is no Xvfb, or no xclip"),
    }
}

#[test]
fn the_clipboard_of_wayland_needs_no_x_server() {
    match Display::wayland() {
        Some(display) => is_held_for_its_time(&display),
        None => eprintln!("skipped: there is no sway, or no wl-paste"),
    }
}

fn is_held_for_its_time(display: &Display) {
    let device = Device::new("own");
    device.put("wallet/web/mail", SECRET);
    let clip = |time: &str| {
        let mut get = device.command(&["get", "wallet/web/mail", time]);
        let done = run(display.shown_to(&mut get), b"");
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
