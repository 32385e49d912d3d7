//! The sealed format, in memory: header, key slots, body and segments.

pub(crate) mod body;
pub(crate) mod cost;
pub(crate) mod crypto;
pub(crate) mod header;
pub(crate) mod passphrase;
pub(crate) mod payload;
pub(crate) mod recipient;
pub(crate) mod sealed;
pub(crate) mod sealer;
pub(crate) mod segment;
pub(crate) mod slot;
pub(crate) mod wire;

/// Maximum length of a slot's label, in bytes.
pub const MAX_LABEL: usize = 100;
/// Maximum number of slots in a file.
pub const MAX_SLOTS: usize = 16;
