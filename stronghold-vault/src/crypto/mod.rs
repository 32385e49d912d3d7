//! Keys and ciphers: the device's identity, record keys, salts and random bytes.

pub(crate) mod cipher;
pub(crate) mod identity;
pub(crate) mod key_bytes;
pub(crate) mod random;
pub(crate) mod salts;
