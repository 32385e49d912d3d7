//! Tests a file system that is really full: a tmpfs of 1 MiB, which needs root and Linux.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::common::{Device, STORAGE, run, stronghold};

/// A mounted tmpfs, unmounted on drop.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => skip(String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => skip(&error.to_string()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn skip(why: &str) -> Option<Small> {
    eprintln!("SKIPPED: a full file system needs root and Linux to mount a tmpfs: {why}");
    None
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Runs a command on a snapshot on the tmpfs, with the key of a device elsewhere.
fn command(device: &Device, snapshot: &Path, args: &[&str], stdin: &[u8]) -> crate::common::Ended {
    let mut command = stronghold();
    run(command.args(args).args(["--key-file", &device.key_file(), "--snapshot"]).arg(snapshot), stdin)
}

#[test]
fn a_full_disk_keeps_the_old_file_and_works_again_with_space() {
    let Some(small) = Small::new() else { return };
    let (device, snapshot) = (Device::without_snapshot(), small.path("vault"));
    let on_it = |args: &[&str], stdin: &[u8]| command(&device, &snapshot, args, stdin);
    assert_eq!(on_it(&["init", "--name", "a"], b"").exit, 0);
    assert_eq!(on_it(&["put", "s/v/first"], b"value").exit, 0);
    let filled = fill(&on_it, &snapshot);
    assert!(filled > 2, "{filled}");

    // Small writes fail in the same way: another file takes the remaining space, so the note in the
    // lock finds none either.
    let rest = small.path("rest");
    while fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&rest)
        .is_ok_and(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]).is_ok())
    {}
    refused(&on_it, &snapshot, b"small");
    assert_eq!(on_it(&["get", "s/v/first"], b"").stdout, b"value");
    assert_eq!(on_it(&["verify"], b"").exit, 0);

    fs::remove_file(rest).unwrap();
    let done = on_it(&["put", "s/v/after"], b"again");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert_eq!(on_it(&["get", "s/v/after"], b"").stdout, b"again");
    assert_eq!(on_it(&["get", "s/v/first"], b"").stdout, b"value");
}

/// Puts records of 48 KiB until the disk is full; returns how many were stored.
fn fill(on_it: &dyn Fn(&[&str], &[u8]) -> crate::common::Ended, snapshot: &Path) -> usize {
    for turn in 0..64 {
        let before = fs::read(snapshot).unwrap();
        let done = on_it(&["put", &format!("s/v/large {turn}")], &vec![turn; 48 << 10]);
        if done.exit != 0 {
            assert!(before == fs::read(snapshot).unwrap(), "the old file was touched");
            assert_eq!(on_it(&["get", &format!("s/v/large {}", turn - 1)], b"").stdout.len(), 48 << 10);
            refused(on_it, snapshot, &vec![turn; 48 << 10]);
            return usize::from(turn);
        }
    }
    panic!("a mebibyte takes three")
}

fn refused(on_it: &dyn Fn(&[&str], &[u8]) -> crate::common::Ended, snapshot: &Path, value: &[u8]) {
    let before = fs::read(snapshot).unwrap();
    let done = on_it(&["put", "s/v/too much"], value);
    assert_eq!(done.exit, STORAGE, "{}", done.stderr);
    assert!(
        done.stderr.contains("No space left on device") && done.stderr.contains("\nhint: "),
        "{}",
        done.stderr
    );
    assert!(before == fs::read(snapshot).unwrap(), "the old file was touched");
    let names = fs::read_dir(snapshot.parent().unwrap()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.ends_with(".tmp")), "a temporary file takes space");
}
