//! Removal of devices that no record names, before a Stronghold is stored as a whole.

use std::collections::{BTreeMap, BTreeSet};

use stronghold_sync::ClientId;

use super::{DeviceNumber, Devices};
use crate::stronghold::Client;

impl Devices {
    /// Checks whether records name all devices.
    pub(crate) fn are_named_in(&self, clients: &BTreeMap<ClientId, Client>) -> bool {
        let mut named = BTreeSet::new();
        let vaults = clients.values().flat_map(|client| client.vaults.values());
        let records = vaults.flat_map(|vault| vault.records.values());
        let mut revisions = records.flat_map(|record| record.revisions());
        named.len() == self.ids.len()
            || revisions.any(|revision| {
                named.insert(revision.origin.author);
                named.extend(revision.origin.delivered().map(|(via, _)| via));
                named.len() == self.ids.len()
            })
    }

    /// Removes the devices that no record names, and renumbers the records.
    pub(crate) fn retain_named_in(&mut self, clients: &mut BTreeMap<ClientId, Client>) {
        let mut named = Self::default();
        each_number(clients, |number| self.id(*number).into_iter().for_each(|id| _ = named.number(id)));
        each_number(clients, |number| *number = self.id(*number).map_or(*number, |id| named.number(id)));
        *self = named;
    }
}

fn each_number(clients: &mut BTreeMap<ClientId, Client>, mut visit: impl FnMut(&mut DeviceNumber)) {
    let vaults = clients.values_mut().flat_map(|client| client.vaults.values_mut());
    for record in vaults.flat_map(|vault| vault.records.values_mut()) {
        record.for_each_device(&mut visit);
    }
}
