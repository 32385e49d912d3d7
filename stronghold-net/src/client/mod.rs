//! Requests to a paired device: dialling it and asking it.

pub(crate) mod dial;
pub(crate) mod peer;
#[cfg(feature = "iroh")]
pub(crate) mod reach;
