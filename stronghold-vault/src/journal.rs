//! Holds the state of a Stronghold before the changes that are not stored yet.

use std::collections::{BTreeMap, BTreeSet};

use stronghold_sync::{LocationId, Policy};

use crate::{audit::AuditLog, crypto::identity::Identity, peers::Peers, record::Record, steps::Steps};

/// The parts of a Stronghold that are loaded, if not all are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) records: BTreeSet<LocationId>,
    /// Set if the steps are loaded, without which no change can be stored.
    pub(crate) steps: bool,
}

/// The state before the changes, of everything that they touch.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) records: BTreeMap<LocationId, Option<Box<Record>>>,
    pub(crate) new_vaults: Vec<LocationId>,
    /// Number of devices in the table.
    pub(crate) devices: usize,
    pub(crate) name: Option<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) peers: Option<Peers>,
    pub(crate) policy: Option<Policy>,
    pub(crate) log: Option<AuditLog>,
    pub(crate) steps: Option<Steps>,
}
