//! A mailbox: a place that carries objects between two paired devices that are never on at the same
//! time, and that nobody has to trust.
//!
//! Holds what the objects are called ([`PairKeys`], [`ObjectName`]) and where they lie ([`Store`],
//! [`Folder`]). Which letters are due is kept by [`stronghold_sync::mailbox`].

mod names;
mod store;

pub use names::{NAME_LEN, ObjectKind, ObjectName, PairKeys, Writer};
pub use store::{Folder, Listing, MAX_STORE_NAME, Store, StoreError};
