//! Locked memory for live keys (§9 of the design): arenas between guard pages, kept out of swap and core dumps,
//! wiped in a forked child.
//!
//! The one module of the workspace with `unsafe` in it. One arena holds 2,048 keys, so a guarded page per key,
//! which runs out of mappings after some thousands, is never needed. Where the system refuses to lock, keys are
//! kept all the same and [`refusal`] tells the reason.

#![allow(unsafe_code)]

use std::{
    fmt, ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{Ordering, compiler_fence},
    },
};

/// Bytes in a key.
pub(crate) const KEY_LEN: usize = 32;
const KEYS_PER_ARENA: usize = 2048;
const ARENA_LEN: usize = KEYS_PER_ARENA * KEY_LEN;

static ARENAS: Mutex<Vec<Arc<Arena>>> = Mutex::new(Vec::new());

/// A 32-byte key in locked memory; zeroized when dropped.
pub(crate) struct LockedKey {
    arena: Arc<Arena>,
    slot: usize,
}

impl LockedKey {
    /// Moves a key into locked memory; the caller's copy is the caller's to zeroize.
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut arenas = ARENAS.lock().unwrap_or_else(PoisonError::into_inner);
        let free = arenas.iter().rev().find_map(|arena| Some((arena.clone(), arena.take_slot()?)));
        let (arena, slot) = free.unwrap_or_else(|| {
            let arena = Arc::new(Arena::map());
            arenas.push(arena.clone());
            let slot = arena.take_slot().unwrap_or(0);
            (arena, slot)
        });
        // SAFETY: `slot` was free until this moment and is below KEYS_PER_ARENA, so the target is inside the
        // arena's readable part, is no one else's, and does not overlap `key`, which is borrowed from outside.
        unsafe { ptr::copy_nonoverlapping(key.as_ptr(), arena.at(slot), KEY_LEN) };
        Self { arena, slot }
    }

    /// The key, while it is used.
    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        // SAFETY: the slot is this value's alone until it is dropped, 32 bytes long, initialised in `new`, and
        // the arena lives as long as `self`. Nothing writes to it while it is borrowed.
        unsafe { &*self.arena.at(self.slot).cast::<[u8; KEY_LEN]>() }
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        // SAFETY: as in `expose`; `&mut self` means that no borrow of the key is left. A volatile write is not
        // optimised away.
        unsafe { ptr::write_volatile(self.arena.at(self.slot).cast::<[u8; KEY_LEN]>(), [0; KEY_LEN]) };
        compiler_fence(Ordering::SeqCst);
        self.arena.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

impl fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedKey(..)")
    }
}

/// Why the system does not lock this process's keys in memory, if it does not.
#[must_use]
pub fn refusal() -> Option<String> {
    drop(LockedKey::new(&[0; KEY_LEN]));
    let arenas = ARENAS.lock().unwrap_or_else(PoisonError::into_inner);
    arenas.iter().find_map(|arena| arena.refusal.clone())
}

struct Arena {
    keys: *mut u8,
    free: Mutex<Vec<usize>>,
    refusal: Option<String>,
}

// SAFETY: the pointer is to memory that is mapped for the arena's whole life; slots are handed out under the
// mutex, each to one owner, and only through `&mut` or the owner's `Drop` written to.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    fn map() -> Self {
        let (keys, refusal) = map_locked().unwrap_or_else(|reason| {
            let plain: Box<[u8; ARENA_LEN]> = Box::new([0; ARENA_LEN]);
            (Box::into_raw(plain).cast::<u8>(), Some(reason))
        });
        Self { keys, free: Mutex::new((0..KEYS_PER_ARENA).rev().collect()), refusal }
    }

    fn take_slot(&self) -> Option<usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn at(&self, slot: usize) -> *mut u8 {
        self.keys.wrapping_add(slot * KEY_LEN)
    }
}

/// Maps an arena between two guard pages. Arenas are never unmapped: they are few, and reused.
#[cfg(target_os = "linux")]
fn map_locked() -> Result<(*mut u8, Option<String>), String> {
    use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap_anonymous, mprotect};

    let page = rustix::param::page_size();
    let inner = ARENA_LEN.next_multiple_of(page);
    let outer = inner + 2 * page;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let start = unsafe {
        mmap_anonymous(ptr::null_mut(), outer, ProtFlags::empty(), MapFlags::PRIVATE)
            .map_err(|error| format!("mmap: {error}"))?
    };
    let keys = start.cast::<u8>().wrapping_add(page);
    // SAFETY: `keys .. keys + inner` lies within the mapping made above, and nothing refers to it yet.
    unsafe {
        mprotect(keys.cast(), inner, MprotectFlags::READ | MprotectFlags::WRITE)
            .map_err(|error| format!("mprotect: {error}"))?;
    }
    let mut refused = Vec::new();
    // SAFETY: the same range; locking and advice change neither its content nor its validity in this process.
    unsafe {
        if let Err(error) = mlock(keys.cast(), inner) {
            refused.push(format!("mlock: {error}"));
        }
        for (name, advice) in [("dontdump", Advice::LinuxDontDump), ("wipeonfork", Advice::LinuxWipeOnFork)] {
            if let Err(error) = madvise(keys.cast(), inner, advice) {
                refused.push(format!("madvise {name}: {error}"));
            }
        }
    }
    Ok((keys, (!refused.is_empty()).then(|| refused.join(", "))))
}

#[cfg(not(target_os = "linux"))]
fn map_locked() -> Result<(*mut u8, Option<String>), String> {
    Err("locked memory is not yet supported on this system".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_keys_fit_and_keep_their_values() {
        let key = |n: u32| {
            let mut key = [7; KEY_LEN];
            key[..4].copy_from_slice(&n.to_le_bytes());
            key
        };
        let keys: Vec<LockedKey> = (0..100_000).map(|n| LockedKey::new(&key(n))).collect();
        assert!(keys.iter().zip(0..).all(|(locked, n)| *locked.expose() == key(n)));
    }

    #[test]
    fn a_dropped_key_is_zeroed_in_place() {
        let key = LockedKey::new(&[0xA5; KEY_LEN]);
        let address = key.arena.at(key.slot);
        drop(key);
        // Another test may have taken the slot by now, but none of them keeps such a key.
        // SAFETY: the arena is mapped for ever, and reading 32 bytes of it is always valid.
        let left = unsafe { ptr::read_volatile(address.cast::<[u8; KEY_LEN]>()) };
        assert_ne!(left, [0xA5; KEY_LEN]);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", LockedKey::new(&[1; KEY_LEN])), "LockedKey(..)");
    }
}
