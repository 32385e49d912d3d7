//! A mailbox: a place that carries objects between two paired devices that are never on at the same
//! time, and that nobody has to trust.
//!
//! Holds what the objects are called ([`PairKeys`], [`ObjectName`]), where they lie ([`Store`],
//! [`Folder`]), both kinds of them ([`Card`], [`Letter`]), and the [`Exchange`], which takes what
//! came and sends what is due. Which letters are due is kept by [`stronghold_sync::mailbox`].

mod card;
mod exchange;
mod letter;
mod names;
#[cfg(feature = "remote")]
mod place;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "remote")]
mod sftp;
mod store;

pub use card::{CARD_LEN, Card, CardError, SealCardError};
#[cfg(feature = "remote")]
pub use exchange::open_remote;
pub use exchange::{Deferred, Exchange, ExchangeError, Exchanged, Oddity, open_store};
#[cfg(test)]
pub(crate) use letter::request_of;
pub use letter::{Letter, LetterError, SealLetterError};
pub use names::{NAME_LEN, ObjectKind, ObjectName, PairKeys, Writer};
#[cfg(feature = "remote")]
pub use place::{Login, ParsePlaceError, RemotePlace};
#[cfg(feature = "remote")]
pub use remote::Remote;
#[cfg(feature = "remote")]
pub use sftp::Sftp;
pub use store::{Folder, Listing, MAX_STORE_NAME, Store, StoreError, is_address};
