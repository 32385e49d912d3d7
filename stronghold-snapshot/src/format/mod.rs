//! The sealed format, in memory: header, key slots and body.

pub(crate) mod body;
pub(crate) mod cost;
pub(crate) mod crypto;
pub(crate) mod encoding;
pub(crate) mod header;
pub(crate) mod recipient;
pub(crate) mod sealed;
pub(crate) mod sealer;
pub(crate) mod slot;
