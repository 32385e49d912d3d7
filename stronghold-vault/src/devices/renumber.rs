//! Removal of devices that no record names, when a Stronghold is loaded.

use std::collections::BTreeMap;

use stronghold_sync::ClientId;

use super::{DeviceNumber, Devices};
use crate::stronghold::Client;

impl Devices {
    /// Returns a table of only the devices that records name, and renumbers the records if the
    /// table shrinks. Returns `None` if a record names a number that is not in the table.
    pub(crate) fn only_named_in(self, clients: &mut BTreeMap<ClientId, Client>) -> Option<Self> {
        let mut named = Self::default();
        let mut are_known = true;
        each_number(clients, |number| match self.id(*number) {
            Some(id) => _ = named.number(id),
            None => are_known = false,
        });
        if !are_known || named.ids.len() == self.ids.len() {
            return are_known.then_some(self);
        }
        each_number(clients, |number| *number = self.id(*number).map_or(*number, |id| named.number(id)));
        Some(named)
    }
}

fn each_number(clients: &mut BTreeMap<ClientId, Client>, mut visit: impl FnMut(&mut DeviceNumber)) {
    let vaults = clients.values_mut().flat_map(|client| client.vaults.values_mut());
    for record in vaults.flat_map(|vault| vault.records.values_mut()) {
        record.for_each_origin(|origin| {
            visit(&mut origin.author);
            origin.delivered.iter_mut().for_each(|(via, _)| visit(via));
        });
    }
}
