//! Locked memory for live keys: arenas between guard pages, kept out of swap and core dumps, wiped
//! in a forked child.
//!
//! This is the only module of the workspace with `unsafe` code. An arena holds 2,048 keys; another
//! one is mapped when all are in use. A guarded page per key would exhaust the process's mappings
//! after some thousands of keys. Arenas are never unmapped: they are few, and reused. If the system
//! refuses to lock memory, keys are stored all the same and [`locked_memory_status`] reports the
//! reason.
//!
//! With the feature `memfd-secret`, arenas are first requested from `memfd_secret` (Linux 5.14).
//! The kernel removes such pages from its own direct map, so neither another process nor most
//! kernel faults can read them. The feature is off by default for two reasons. While such a page
//! exists, the system does not hibernate; that is the decision of a laptop's owner, not of a
//! library. And the memory is shared, so it can't be wiped in a forked child: it is not mapped in
//! the child at all, and a child that touches a key dies of a fault instead of reading zeros.
//! rustix lacks the call, so libc makes it.

#![allow(unsafe_code)]

use std::{
    fmt,
    ptr::{self, NonNull},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{Ordering, compiler_fence},
    },
};

use zeroize::Zeroize;

/// Length of a key, in bytes.
pub(crate) const KEY_LEN: usize = 32;
const KEYS_PER_ARENA: usize = 2048;
const ARENA_LEN: usize = KEYS_PER_ARENA * KEY_LEN;

/// The state of this process's key memory, as returned by [`locked_memory_status`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockedMemoryStatus {
    /// Number of live keys.
    pub keys: usize,
    /// Number of bytes locked for keys. They stay locked for later keys when keys are dropped.
    pub locked: usize,
    /// Number of locked bytes that are not in the kernel's own memory map (feature `memfd-secret`).
    pub secret: usize,
    /// Number of bytes for keys that are not locked and may be swapped out.
    pub unlocked: usize,
    /// The system's first refusal, as an error text.
    pub refusal: Option<String>,
}

/// Returns the state of key memory. Maps an arena first if there is none, to find out whether
/// locking works.
pub fn locked_memory_status() -> LockedMemoryStatus {
    drop(LockedKey::new(&[0; KEY_LEN]));
    let pool = pool();
    let bytes =
        |kind: &[Kind]| pool.arenas.iter().filter(|arena| kind.contains(&arena.kind)).count() * ARENA_LEN;
    LockedMemoryStatus {
        keys: pool.arenas.len() * KEYS_PER_ARENA - pool.free.len(),
        locked: bytes(&[Kind::Locked, Kind::Secret]),
        secret: bytes(&[Kind::Secret]),
        unlocked: bytes(&[Kind::Unlocked]),
        refusal: pool.arenas.iter().find_map(|arena| arena.refusal.clone()),
    }
}

/// A 32-byte key in locked memory; zeroized when dropped. `Debug` shows nothing.
pub struct LockedKey(Slot);

impl LockedKey {
    /// Copies a key into locked memory. The caller has to zeroize its own copy.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        let slot = pool().take();
        // SAFETY: the slot came out of the pool, so this value alone owns it; it is mapped forever,
        // 32 bytes long and writable. `key` is borrowed from outside, and only `expose` and
        // `filled` lend a slot out, so the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(key, slot.0.as_ptr(), 1) };
        Self(slot)
    }

    /// Creates a key in place: `fill` receives the slot, all zeros.
    ///
    /// # Errors
    /// The error of `fill`; the slot is zeroized then.
    pub fn filled<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(pool().take());
        // SAFETY: the slot came out of the pool, so this value alone owns it; it is mapped forever
        // and writable. Every slot in the pool is all zeros (mapped so, or zeroized in `drop`).
        // `&mut` lasts for the call, and `key` is not used meanwhile.
        fill(unsafe { key.0.0.as_mut() })?;
        Ok(key)
    }

    /// Returns the key, for as long as it is in use.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        // SAFETY: this value alone owns the slot until it is dropped; it is mapped forever and was
        // initialized in `new` or `filled`. Nothing writes to it while `self` is borrowed. Bytes
        // need no alignment.
        unsafe { self.0.0.as_ref() }
    }
}

/// Overwrites the stack that earlier calls have left behind in this thread: using a key moves it
/// about, which leaves copies there that nothing else wipes.
#[inline(never)]
pub fn wipe_stack() {
    let mut stack = [0_u8; 64 * 1024];
    stack.zeroize();
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        // SAFETY: as in `expose`; `&mut self` means that no borrow of the key is left. A volatile
        // write is not optimised away.
        unsafe { ptr::write_volatile(self.0.0.as_ptr(), [0; KEY_LEN]) };
        compiler_fence(Ordering::SeqCst);
        pool().free.push(Slot(self.0.0));
    }
}

impl fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedKey(..)")
    }
}

/// Memory for one key, mapped forever. Either the pool or a [`LockedKey`] owns it.
struct Slot(NonNull<[u8; KEY_LEN]>);

// SAFETY: a slot is not bound to a thread: its owner may use it anywhere.
unsafe impl Send for Slot {}
// SAFETY: a shared slot is only read; it is written when a key is made or dropped, which takes the
// slot's only owner.
unsafe impl Sync for Slot {}

static POOL: Mutex<Pool> = Mutex::new(Pool { arenas: Vec::new(), free: Vec::new() });

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All arenas, and the free slots.
struct Pool {
    arenas: Vec<Arena>,
    free: Vec<Slot>,
}

/// The state of the memory for [`KEYS_PER_ARENA`] keys.
struct Arena {
    kind: Kind,
    refusal: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(all(target_os = "linux", feature = "memfd-secret")), allow(dead_code))]
enum Kind {
    Secret,
    Locked,
    Unlocked,
}

impl Pool {
    fn take(&mut self) -> Slot {
        match self.free.pop() {
            Some(slot) => slot,
            None => self.grow(),
        }
    }

    /// Maps another arena and returns its first slot.
    fn grow(&mut self) -> Slot {
        let (keys, arena) = system::map().unwrap_or_else(|refusal| {
            let plain = Box::leak(Box::new([[0; KEY_LEN]; KEYS_PER_ARENA]));
            (NonNull::from(plain).cast(), Arena { kind: Kind::Unlocked, refusal: Some(refusal) })
        });
        self.arenas.push(arena);
        // SAFETY: `keys` is the start of `ARENA_LEN` bytes, so each slot lies within them.
        let slot = |number: usize| Slot(unsafe { keys.add(number) });
        self.free.extend((1..KEYS_PER_ARENA).rev().map(slot));
        Slot(keys)
    }
}

#[cfg(target_os = "linux")]
mod system {
    //! An arena between two guard pages, on Linux.

    use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap_anonymous, mprotect};

    use super::{ARENA_LEN, Arena, KEY_LEN, Kind, NonNull, ptr};

    /// Returns the address of the first key and the state of the new arena.
    pub(super) fn map() -> Result<(NonNull<[u8; KEY_LEN]>, Arena), String> {
        let page = rustix::param::page_size();
        let inner = ARENA_LEN.next_multiple_of(page);
        let keys = reserve(inner, page)?;
        let (keys, arena) = match secret(keys, inner) {
            Ok(()) => (keys, Arena { kind: Kind::Secret, refusal: None }),
            Err(None) => (keys, lock(keys, inner, None)?),
            Err(refusal) => {
                // The reservation may be gone. The rest of it is abandoned: it is not readable.
                let keys = reserve(inner, page)?;
                (keys, lock(keys, inner, refusal)?)
            }
        };
        Ok((NonNull::new(keys.cast()).ok_or("mmap: no address")?, arena))
    }

    /// Reserves `inner` bytes that are not accessible yet, between two pages that never will be.
    fn reserve(inner: usize, page: usize) -> Result<*mut u8, String> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe {
            mmap_anonymous(ptr::null_mut(), inner + 2 * page, ProtFlags::empty(), MapFlags::PRIVATE)
                .map_err(|error| format!("mmap: {error}"))?
        };
        Ok(start.cast::<u8>().wrapping_add(page))
    }

    /// Makes `inner` bytes from `keys` readable and writable, locks them and keeps them from core
    /// dumps and children.
    fn lock(keys: *mut u8, inner: usize, refused: Option<String>) -> Result<Arena, String> {
        // SAFETY: `keys .. keys + inner` lies within the mapping that `reserve` has just made, and
        // nothing refers to it yet.
        unsafe {
            mprotect(keys.cast(), inner, MprotectFlags::READ | MprotectFlags::WRITE)
                .map_err(|error| format!("mprotect: {error}"))?;
        }
        let mut refused: Vec<String> = refused.into_iter().collect();
        // SAFETY: the same range; locking changes neither its content nor its validity.
        let locked = unsafe { mlock(keys.cast(), inner) };
        refused.extend(locked.err().map(|error| format!("mlock: {error}")));
        for (name, advice) in [("dontdump", Advice::LinuxDontDump), ("wipeonfork", Advice::LinuxWipeOnFork)] {
            // SAFETY: the same range; neither advice changes its content or its validity in this
            // process.
            let advised = unsafe { madvise(keys.cast(), inner, advice) };
            refused.extend(advised.err().map(|error| format!("madvise {name}: {error}")));
        }
        let kind = if locked.is_ok() { Kind::Locked } else { Kind::Unlocked };
        Ok(Arena { kind, refusal: (!refused.is_empty()).then(|| refused.join(", ")) })
    }

    /// Maps memory that only this process can read over `inner` bytes from `keys`. The error holds
    /// the reason, or `None` if the feature is off.
    #[cfg(feature = "memfd-secret")]
    fn secret(keys: *mut u8, inner: usize) -> Result<(), Option<String>> {
        use std::os::fd::{FromRawFd, OwnedFd};

        let told = |error: &dyn std::fmt::Display| Some(format!("memfd_secret: {error}"));
        // SAFETY: the call takes one number, touches no memory, and returns a new descriptor or -1.
        let raw = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let raw = i32::try_from(raw).map_err(|error| told(&error))?;
        if raw < 0 {
            return Err(told(&std::io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was made above and has no other owner.
        let file = unsafe { OwnedFd::from_raw_fd(raw) };
        rustix::fs::ftruncate(&file, inner as u64).map_err(|error| told(&error))?;
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE;
        // SAFETY: `keys .. keys + inner` lies within the mapping that `reserve` has just made, and
        // nothing refers to it yet, so it may be mapped over.
        unsafe {
            rustix::mm::mmap(keys.cast(), inner, ProtFlags::READ | ProtFlags::WRITE, flags, &file, 0)
                .map_err(|error| told(&error))?;
        }
        // SAFETY: the same range; the advice changes nothing in this process. A child that inherits
        // the keys would be worse than unlocked memory, hence the error; but secret memory accepts
        // this advice wherever it exists.
        unsafe { madvise(keys.cast(), inner, Advice::LinuxDontFork).map_err(|error| told(&error)) }
    }

    #[cfg(not(feature = "memfd-secret"))]
    fn secret(_: *mut u8, _: usize) -> Result<(), Option<String>> {
        Err(None)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    //! No locked memory on this system yet.

    use super::{Arena, KEY_LEN, NonNull};

    pub(super) fn map() -> Result<(NonNull<[u8; KEY_LEN]>, Arena), String> {
        Err("locked memory is not yet supported on this system".into())
    }
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
        let held = locked_memory_status();
        assert!(held.keys >= 100_000 && held.locked + held.unlocked >= 100_000 * KEY_LEN, "{held:?}");
        assert!(held.keys * KEY_LEN <= held.locked + held.unlocked, "{held:?}");
        assert!(held.refusal.is_some() || held.unlocked == 0, "{held:?}");
    }

    #[test]
    fn a_dropped_key_is_zeroed_in_place() {
        let key = LockedKey::new(&[0xA5; KEY_LEN]);
        let place = key.0.0;
        drop(key);
        // Another test may have taken the slot by now, but none stores such a key.
        // SAFETY: the arena is mapped forever, and reading 32 bytes of it is always valid.
        let left = unsafe { ptr::read_volatile(place.as_ptr()) };
        assert_ne!(left, [0xA5; KEY_LEN]);
    }

    #[test]
    fn a_key_is_made_in_a_place_of_zeros_also_where_one_was_given_up_before() {
        for n in 1..100 {
            let refused = LockedKey::filled(|place| {
                assert_eq!(*place, [0; KEY_LEN]);
                *place = [n; KEY_LEN];
                Err(n)
            });
            assert_eq!(refused.map(drop), Err(n));
            let made = LockedKey::filled::<()>(|place| {
                assert_eq!(*place, [0; KEY_LEN]);
                place[31] = n;
                Ok(())
            });
            assert_eq!((made.as_ref().unwrap().expose()[0], made.unwrap().expose()[31]), (0, n));
        }
    }

    #[test]
    fn the_room_of_dropped_keys_is_used_again() {
        let all = |held: LockedMemoryStatus| held.locked + held.unlocked;
        let before = all(locked_memory_status());
        (0..120 * KEYS_PER_ARENA).for_each(|_| drop(LockedKey::new(&[1; KEY_LEN])));
        // Other tests hold keys meanwhile: more than this many arenas they do not.
        assert!(all(locked_memory_status()) < before + 60 * ARENA_LEN);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", LockedKey::new(&[1; KEY_LEN])), "LockedKey(..)");
    }

    /// Returns the kernel's list of mappings: start, end, access and flags.
    #[cfg(target_os = "linux")]
    fn mappings() -> Vec<(usize, usize, String, String)> {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut found: Vec<(usize, usize, String, String)> = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if first == "VmFlags:" {
                found.last_mut().unwrap().3 = line.to_owned();
            } else if let Some((start, end)) = first.split_once('-') {
                let address = |hex: &str| usize::from_str_radix(hex, 16).unwrap();
                found.push((address(start), address(end), second.to_owned(), String::new()));
            }
        }
        found
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_arena_lies_between_guards_locked_not_dumped_and_wiped_on_fork() {
        let key = LockedKey::new(&[1; KEY_LEN]);
        if let Some(reason) = locked_memory_status().refusal {
            assert!(reason.contains("mlock") || reason.contains("memfd_secret"), "{reason}");
            return;
        }
        let address = key.0.0.as_ptr() as usize;
        let mappings = mappings();
        let at = mappings.iter().position(|(start, end, ..)| (*start..*end).contains(&address)).unwrap();
        let (start, end, _, flags) = &mappings[at];
        // The child does not inherit secret memory (`dc`) and finds other arenas wiped (`wf`).
        let in_child = if cfg!(feature = "memfd-secret") { "dc" } else { "wf" };
        for flag in ["lo", "dd", in_child] {
            assert!(flags.split_whitespace().any(|found| found == flag), "{flag} is not among {flags}");
        }
        // Neighbouring arenas may share a guard mapping, but nothing readable is next to an arena.
        let is_guard = |other: &&(usize, usize, String, String)| other.2.starts_with("---");
        assert!(mappings[..at].last().filter(is_guard).is_some_and(|guard| guard.1 == *start));
        assert!(mappings.get(at + 1).filter(is_guard).is_some_and(|guard| guard.0 == *end));
    }
}
