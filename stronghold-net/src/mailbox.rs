//! A mailbox: a place that carries objects between two paired devices that are never on at the same
//! time, and that nobody has to trust.
//!
//! Holds what the objects are called ([`PairKeys`], [`ObjectName`]), where they lie ([`Store`],
//! [`Folder`]), and both kinds of them ([`Card`], [`Letter`]). Which letters are due is kept by
//! [`stronghold_sync::mailbox`].

mod card;
mod letter;
mod names;
mod store;

pub use card::{CARD_LEN, Card, CardError, SealCardError};
pub use letter::{Letter, LetterError, SealLetterError};
#[cfg(test)]
pub(crate) use letter::{head_of, request_of};
pub use names::{NAME_LEN, ObjectKind, ObjectName, PairKeys, Writer};
pub use store::{Folder, Listing, MAX_STORE_NAME, Store, StoreError};
