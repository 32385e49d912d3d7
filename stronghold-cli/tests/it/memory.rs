//! Tests the memory of a running `serve`, and the cost of a hostile file. Reads /proc, so it needs
//! Linux and root.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt},
    time::{Duration, Instant},
};

use crate::common::{DAMAGED, DECISION, Device, paired, raw_key, trust_each_other};
use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use stronghold_snapshot::{Unlock, VaultFile};

/// A memory mapping of a process: its address range, and the kernel's description of it.
struct Mapping {
    start: u64,
    end: u64,
    line: String,
    flags: String,
}

impl Mapping {
    /// Checks whether this is locked memory for keys: it is excluded from dumps and wiped on fork,
    /// unlike anything else in the process.
    fn is_arena(&self) -> bool {
        let has = |flag: &str| self.flags.split_whitespace().any(|found| found == flag);
        has("dd") && has("wf")
    }
}

fn mappings(process: u32) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string(format!("/proc/{process}/smaps")).unwrap().lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if first == "VmFlags:" {
            found.last_mut().unwrap().flags = line.to_owned();
        } else if let Some((start, end)) = first.split_once('-') {
            let address = |digits| u64::from_str_radix(digits, 16);
            if let (Ok(start), Ok(end)) = (address(start), address(end)) {
                found.push(Mapping { start, end, line: line.to_owned(), flags: String::new() });
            }
        }
    }
    found
}

/// Counts how often each secret is in locked memory, and lists where else it is.
pub(crate) fn search(process: u32, secrets: &[(&str, Vec<u8>)]) -> (Vec<usize>, Vec<String>) {
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let (mut in_arena, mut elsewhere) = (vec![0; secrets.len()], Vec::new());
    for mapping in mappings(process) {
        let mut bytes = vec![0; (mapping.end - mapping.start) as usize];
        if !mapping.line.contains(" rw") || memory.read_exact_at(&mut bytes, mapping.start).is_err() {
            continue;
        }
        for (number, (name, secret)) in secrets.iter().enumerate() {
            let hits = bytes.windows(secret.len()).filter(|window| window == secret).count();
            if mapping.is_arena() {
                in_arena[number] += hits;
            } else if hits > 0 {
                elsewhere.push(format!("{name}: {hits} times in {}", mapping.line));
            }
        }
    }
    (in_arena, elsewhere)
}

/// Returns the master key of a file that has one slot for a raw key, as FORMAT.md defines it.
fn master_of(file: &[u8], key: &[u8; 32]) -> Vec<u8> {
    let (file_id, slot) = (&file[32..48], &file[131..]);
    assert_eq!(slot[0], 2, "a raw key's slot");
    let mut keys = [0; 64];
    let info = [b"stronghold/snapshot/v1/slot".as_slice(), file_id].concat();
    Hkdf::<Sha256>::new(Some(&slot[1..33]), key).expand(&info, &mut keys).unwrap();
    let cipher = Aes256Gcm::new_from_slice(&keys[..32]).unwrap();
    cipher.decrypt(&[0; 12].into(), &slot[65..113]).unwrap()
}

#[test]
fn a_running_serve_has_its_keys_in_locked_memory_alone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root reads the memory of a process that is not dumpable");
        return;
    }
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    let (pushed, pulled, old) = ("canary-pushed-f3a1c07e", "canary-pulled-9b2d44e8", "canary-old-5c1f77aa");
    a.put("wallet/web/pulled", old);
    a.put("wallet/web/pulled", pulled);
    b.put("wallet/web/pushed", pushed);
    // The key is given as hexadecimal digits in a key file; these must not stay in memory either.
    let key = raw_key(77);
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = a.file("new-key", digits.as_bytes());
    a.ok(&["passphrase", "--new-key-file", &file]);
    a.unlock_by_file("--key-file", file.as_ref());
    let master = master_of(&fs::read(a.snapshot()).unwrap(), &key);
    let home = VaultFile::open(&a.snapshot(), &Unlock::Key(&key)).unwrap();
    let identity = home.stronghold().identity().to_bytes().to_vec();
    let backwards = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();

    let (mut serving, address) = a.serve();
    // Handshakes, signatures and commits, in both directions.
    b.ok(&["sync", "a", "--at", &address]);
    a.put("wallet/web/more", "by another process");
    b.ok(&["sync", "a", "--at", &address]);
    assert_eq!(b.get("wallet/web/pulled"), pulled);
    // Results of a session are written once the peer has ended it.
    let mut done = 0;
    while done < 2 {
        done += usize::from(serving.event()["session"] == "done");
    }

    let secrets = [
        ("master key", master),
        ("raw key", key.to_vec()),
        ("digits of the key file", digits.into_bytes()),
        ("identity", identity.clone()),
        ("identity, the other way round", backwards(&identity)),
        ("pushed value", pushed.as_bytes().to_vec()),
        ("pulled value", pulled.as_bytes().to_vec()),
        ("old value", old.as_bytes().to_vec()),
    ];
    let (in_arena, elsewhere) = search(serving.id(), &secrets);
    assert!(in_arena[0] > 0 && in_arena[3] > 0, "the search finds what is there: {in_arena:?}");
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

#[test]
fn the_command_leaves_no_core_and_is_not_dumpable() {
    let device = Device::new("device");
    let (serving, _) = device.serve();
    let limits = fs::read_to_string(format!("/proc/{}/limits", serving.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    // A process that is not dumpable has its /proc files owned by root, whoever runs it.
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(format!("/proc/{}/environ", serving.id())).unwrap().uid();
    assert_eq!(owner, 0);
}

/// Runs a command; returns its exit code, stderr, peak memory in KiB, and the time it took.
fn cost(device: &Device, args: &[&str]) -> (i32, String, u64, Duration) {
    let started = Instant::now();
    let done = device.run(args, b"");
    (done.exit, done.stderr, done.peak.unwrap_or_default(), started.elapsed())
}

/// Checks that a command takes at most 64 MiB more than `list`.
#[track_caller]
fn is_cheap(device: &Device, args: &[&str], expected: i32, says: &str) {
    let (_, _, usual, _) = cost(device, &["list"]);
    let (exit, said, peak, took) = cost(device, args);
    assert_eq!(exit, expected, "{args:?}: {said}");
    assert!(said.contains(says), "{args:?}: {said}");
    assert!(peak <= usual + 64 * 1024, "{args:?}: {peak} KiB, usually {usual}");
    assert!(took < Duration::from_secs(10), "{args:?}: {took:?} (2 s on a machine of its own)");
}

#[test]
fn a_huge_file_that_is_none_costs_little() {
    let device = Device::new("device");
    let path = device.file("huge", b"");
    File::options().write(true).open(&path).unwrap().set_len(6 << 30).unwrap();
    let key = device.key_file();
    is_cheap(&device, &["merge", &path, "--other-key-file", &key], DAMAGED, "not a sealed snapshot");
    // The user's own file, with gigabytes of zeros appended.
    let other = Device::new("other");
    other.put("a/b/c", "1");
    let mut bytes = fs::read(other.snapshot()).unwrap();
    fs::write(&path, &bytes).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(6 << 30).unwrap();
    is_cheap(&device, &["merge", &path, "--other-key-file", &other.key_file()], DECISION, "larger than");
    // A header that claims the maximum length.
    bytes[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut file = File::create(&path).unwrap();
    file.write_all(&bytes).unwrap();
    file.set_len(6 << 30).unwrap();
    is_cheap(&device, &["merge", &path, "--other-key-file", &other.key_file()], DAMAGED, "damaged");
    // The same in place of the snapshot itself.
    fs::rename(&path, device.snapshot()).unwrap();
    is_cheap(&device, &["get", "a/b/c"], DAMAGED, "damaged");
}

/// Makes a header ask for the maximum Argon2 cost of the format, which takes no key.
fn greedy(file: &mut [u8]) {
    file[164..168].copy_from_slice(&(1_u32 << 20).to_be_bytes());
    file[168..172].copy_from_slice(&16_u32.to_be_bytes());
    let len = u32::from_be_bytes(file[12..16].try_into().unwrap()) as usize;
    let hash = Sha256::new().chain_update(&file[..16]).chain_update(&file[32..len]).finalize();
    file[16..32].copy_from_slice(&hash[..16]);
}

#[test]
fn a_passphrase_is_tried_at_the_usual_cost_on_files_of_others() {
    let device = Device::with_passphrase("device", "first");
    let passphrase = device.file("other-passphrase", b"second");
    let other = Device::with_passphrase("other", "second");
    other.put("a/b/c", "1");
    let path = other.snapshot();
    device.ok(&["merge", path.to_str().unwrap(), "--other-passphrase-file", &passphrase]);
    let mut bytes = fs::read(&path).unwrap();
    greedy(&mut bytes);
    let crafted = device.file("crafted", &bytes);
    let args = ["merge", &crafted, "--other-passphrase-file", &passphrase];
    let (_, _, usual, _) = cost(&Device::new("with a key"), &["list"]);
    let (exit, said, peak, took) = cost(&device, &args);
    assert_eq!(exit, DECISION, "{said}");
    assert!(said.contains("1024 MiB") && said.contains("--allow-costly"), "{said}");
    assert!(peak <= usual + 2 * 64 * 1024, "this one's own passphrase takes 64 MiB: {peak} KiB");
    assert!(took < Duration::from_secs(20));
    // In place of the snapshot itself, with and without a cheaper one noted before.
    for (owner, known) in [(&device, true), (&Device::without_snapshot(), false)] {
        owner.unlock_by("--passphrase-file", "passphrase", b"first");
        fs::write(owner.snapshot(), &bytes).unwrap();
        fs::set_permissions(owner.snapshot(), fs::Permissions::from_mode(0o600)).unwrap();
        is_cheap(owner, &["get", "a/b/c"], DECISION, "--allow-costly");
        assert!(known || owner.run(&["get", "a/b/c"], b"").exit == DECISION);
    }
}
