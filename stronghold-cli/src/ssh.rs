//! Answers SSH clients as an agent does: with the keys that are records of the vault, which are
//! read when they are listed and when they sign.

mod keys;
mod wire;

pub(crate) use keys::{Keys, keys};
pub(crate) use wire::{Reply, Request, read_message};
