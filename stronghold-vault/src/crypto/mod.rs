//! Keys and ciphers: the device's identity, record keys and salts.

pub(crate) mod cipher;
pub(crate) mod identity;
pub(crate) mod salts;
