//! Stands in for the search of the LAN where the feature `discovery` is off: it finds nothing.

use std::net::SocketAddr;

use stronghold_sync::DeviceId;
use stronghold_vault::Rendezvous;

use crate::{DialError, PairingCode};

/// A search, which never begins.
pub(crate) enum Search {}

impl Search {
    pub(crate) async fn next(&mut self) -> SocketAddr {
        match *self {}
    }
}

pub(crate) fn search_for_code(_: &PairingCode) -> Result<Search, DialError> {
    Err(DialError::NotFound)
}

pub(crate) fn search_for_peer(_: &Rendezvous, _: DeviceId) -> Result<Search, DialError> {
    Err(DialError::NotFound)
}
