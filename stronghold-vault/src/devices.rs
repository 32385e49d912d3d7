//! The devices that revisions name, each once: a revision holds a small number in place of 32 bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stronghold_sync::{ClientId, DeviceId};

use crate::stronghold::Client;

/// A device's place in the table.
pub(crate) type DeviceNumber = u32;

/// A table of device ids.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    ids: Vec<DeviceId>,
    numbers: BTreeMap<DeviceId, DeviceNumber>,
}

impl Devices {
    /// Returns the number of a device, which it gets if it has none.
    pub(crate) fn number(&mut self, device: DeviceId) -> DeviceNumber {
        let Self { ids, numbers } = self;
        *numbers.entry(device).or_insert_with(|| {
            ids.push(device);
            // Each revision names two at most, and no memory holds half of 2^32 of them.
            (ids.len() - 1) as DeviceNumber
        })
    }

    /// Returns the device of a number; `None` for one that was not given.
    pub(crate) fn id(&self, number: DeviceNumber) -> Option<DeviceId> {
        self.ids.get(number as usize).copied()
    }

    /// Returns a table of the devices that records name, and numbers those anew if there are others; `None` if a record
    /// names one that is not there.
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
        record.each_origin(|origin| {
            visit(&mut origin.author);
            origin.delivered.iter_mut().for_each(|(via, _)| visit(via));
        });
    }
}

impl Serialize for Devices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ids.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Devices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ids = Vec::<DeviceId>::deserialize(deserializer)?;
        let mut devices = Self::default();
        ids.iter().for_each(|id| _ = devices.number(*id));
        // One that stands there twice would move the numbers of all after it.
        match devices.ids.len() == ids.len() {
            true => Ok(devices),
            false => Err(serde::de::Error::custom("a device that is there twice")),
        }
    }
}
