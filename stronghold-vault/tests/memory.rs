//! Searches this process's memory after a Stronghold was dropped: no part of a value or key may be
//! left. The kernel exposes a process's memory as a file, so heap, stacks and locked arenas are all
//! searched.
//!
//! The process runs only this test: other tests would have values of their own in memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

use std::{fs, fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_bytes::ByteBuf;
use stronghold_sync::{Location, Mapping, Scope, Selection, Shape, Timestamp};
use stronghold_vault::{Labels, Stronghold};
use zeroize::{Zeroize, Zeroizing};

/// A canary stored masked, so that the search does not find the copy.
struct Masked {
    what: &'static str,
    bytes: Vec<u8>,
}

const MASK: u8 = 0x5C;

impl Masked {
    fn new(what: &'static str, secret: &[u8]) -> Self {
        Self { what, bytes: secret.iter().map(|byte| byte ^ MASK).collect() }
    }

    fn unmasked(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.bytes.iter().map(|byte| byte ^ MASK).collect())
    }

    /// Returns where the canary's first or last half is in readable memory: address and mapping.
    fn found(&self) -> Vec<String> {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut found = Vec::new();
        for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let address = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
            if rest.starts_with('r') {
                let places = self.found_in(&memory, address(start), address(end));
                found.extend(places.into_iter().map(|at| format!("{at:#x} of {line}")));
            }
        }
        found
    }

    fn found_in(&self, memory: &File, start: u64, end: u64) -> Vec<u64> {
        let (first, last) = self.bytes.split_at(self.bytes.len() / 2);
        let mut buffer = Zeroizing::new(vec![0; CHUNK + first.len()]);
        let mut found = Vec::new();
        for at in (start..end).step_by(CHUNK) {
            let len = buffer.len().min((end - at) as usize);
            // Unreadable mappings are out of reach for others in the same way: guards, kernel
            // mappings, secret memory.
            let Ok(()) = read(memory, &mut buffer[..len], at) else { continue };
            // Compares byte by byte: an unmasked buffer would itself be found.
            let is = |window: &[u8], half: &[u8]| {
                window.iter().zip(half).all(|(byte, masked)| *byte == masked ^ MASK)
            };
            let places = buffer[..len].windows(first.len()).enumerate();
            let halves = places.filter(|(_, window)| is(window, first) || is(window, last));
            found.extend(halves.map(|(place, _)| at + place as u64));
        }
        found
    }
}

const CHUNK: usize = 1 << 16;

fn read(memory: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    memory.read_exact_at(buffer, at)
}

/// The part of a payload that holds its keys.
#[derive(Deserialize)]
struct Names {
    _order: ByteBuf,
    _name: String,
    identity: ByteBuf,
    _devices: IgnoredAny,
    clients: Vec<(String, Vec<(String, ByteBuf)>)>,
}

/// Encodes as `stronghold-snapshot` does: into memory that is large enough, and is wiped.
fn encoded<T: Serialize>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 20));
    rmp_serde::encode::write(&mut *bytes, value).unwrap();
    bytes
}

fn keys_of(vault: &Stronghold) -> [Masked; 2] {
    let bytes = vault.to_payload().unwrap();
    let trailer = bytes[bytes.len() - 56..].as_chunks::<8>().0;
    let [records, fences, names] = [0, 1, 2].map(|part: usize| u64::from_be_bytes(trailer[part]) as usize);
    let at = records + fences;
    let mut payload: Names = rmp_serde::from_slice(&bytes[at..at + names]).unwrap();
    let key = &mut payload.clients[0].1[0].1;
    let masked = [Masked::new("a vault's key", key), Masked::new("the identity", &payload.identity)];
    key.zeroize();
    payload.identity.zeroize();
    masked
}

fn at(text: &str) -> Location {
    text.parse().unwrap()
}

/// Performs every operation on a value.
fn use_it(vault: &mut Stronghold, value: &Masked) {
    vault.write(&at("c/v/kept"), &value.unmasked(), Labels::new(), Timestamp::from_millis(1)).unwrap();
    vault.write(&at("c/v/gone"), &value.unmasked(), Labels::new(), Timestamp::from_millis(1)).unwrap();
    vault.write(&at("c/v/over"), &value.unmasked(), Labels::new(), Timestamp::from_millis(1)).unwrap();
    vault.write(&at("c/v/over"), b"something else", Labels::new(), Timestamp::from_millis(2)).unwrap();
    drop(vault.read(&at("c/v/kept")).unwrap());
    vault.remove(&at("c/v/gone"), Timestamp::from_millis(2)).unwrap();
    vault.verify().unwrap();

    let loaded = Stronghold::from_payload(&vault.to_payload().unwrap()).unwrap();
    drop(loaded.read(&at("c/v/kept")).unwrap());
    let shapes = loaded.shapes(&Scope::of(Selection::everything()), &Mapping::default());
    let wanted = shapes.iter().map(Shape::entry).collect();
    let entries = loaded.export_mapped(&Selection::everything(), &Mapping::default(), &wanted).unwrap();
    let sealed = encoded(&entries);
    drop(entries);
    let arrived: Vec<stronghold_vault::Entry> = rmp_serde::from_slice(&sealed).unwrap();
    let mut other = Stronghold::new("other").unwrap();
    other.import(&arrived, vault.identity().device(), Timestamp::from_millis(2), |_, _, _| Ok(())).unwrap();
    drop(other.read(&at("c/v/kept")).unwrap());
}

/// Creates a random secret, kept only masked.
fn canary(len: usize) -> Masked {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).unwrap();
    Masked { what: "a value", bytes }
}

#[test]
fn nothing_of_values_and_keys_is_left_in_memory() {
    // Also a long one: long buffers are copied and moved in other ways than short ones.
    let (value, long) = (canary(48), canary(5000));
    let mut vault = Stronghold::new("canary").unwrap();
    use_it(&mut vault, &value);
    use_it(&mut vault, &long);
    let keys = keys_of(&vault);
    assert!(
        cfg!(feature = "memfd-secret") || !keys[0].found().is_empty(),
        "the key is in its arena, and nowhere else"
    );

    let reading = vault.read(&at("c/v/kept")).unwrap();
    assert!(!long.found().is_empty(), "a search that finds nothing proves nothing");
    drop(reading);
    let while_open: Vec<String> = [&value, &long].into_iter().flat_map(Masked::found).collect();
    assert!(while_open.is_empty(), "a value lies open in an open Stronghold: {while_open:#?}");
    drop(vault);
    for masked in [&value, &long, &keys[0], &keys[1]] {
        let left = masked.found();
        assert!(left.is_empty(), "{} is left: {left:#?}", masked.what);
    }
}
