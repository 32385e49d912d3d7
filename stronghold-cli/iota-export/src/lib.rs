//! Reads a snapshot of IOTA Stronghold with its own published engine, and writes its records and
//! store entries as what `stronghold import --format iota` takes.
//!
//! The format knows clients, vaults and records by hashes of their paths. A name comes back where
//! the application's paths are known; elsewhere the hash stands in its place. Nothing is changed in
//! the snapshot.

mod key;
mod names;
mod snapshot;
mod write;

pub use key::{KeyError, Source};
pub use names::{Names, PathsError};
pub use snapshot::{Contents, Entry, ReadError, read};
pub use write::write;
