//! Requests to a paired device: dialling it and asking it.

pub(crate) mod dial;
pub(crate) mod peer;
