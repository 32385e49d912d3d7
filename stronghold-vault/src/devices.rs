//! A table of the devices that revisions name. A revision holds a small number instead of 32 bytes.

mod renumber;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stronghold_sync::DeviceId;

use crate::encoding::DecodeError;

/// Index of a device in the table.
pub(crate) type DeviceNumber = u32;

/// A table of device ids.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    ids: Vec<DeviceId>,
    numbers: BTreeMap<DeviceId, DeviceNumber>,
}

impl Devices {
    /// Returns the number of a device and assigns one if it has none.
    pub(crate) fn number(&mut self, device: DeviceId) -> DeviceNumber {
        let Self { ids, numbers } = self;
        *numbers.entry(device).or_insert_with(|| {
            ids.push(device);
            // Each revision names at most two devices, and no memory holds 2^31 revisions.
            (ids.len() - 1) as DeviceNumber
        })
    }

    /// Returns the number of devices.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns the devices from this number on.
    pub(crate) fn behind(&self, number: usize) -> (usize, &[DeviceId]) {
        (number, self.ids.get(number..).unwrap_or_default())
    }

    /// Appends devices whose first has the next number.
    pub(crate) fn append(&mut self, (number, ids): (usize, Vec<DeviceId>)) -> Result<(), DecodeError> {
        let end = self.ids.len() + ids.len();
        let is_next = number == self.ids.len();
        ids.into_iter().for_each(|id| _ = self.number(id));
        (is_next && self.ids.len() == end).then_some(()).ok_or(DecodeError)
    }

    /// Removes all devices from this number on.
    pub(crate) fn truncate(&mut self, number: usize) {
        for id in self.ids.drain(number.min(self.ids.len())..) {
            self.numbers.remove(&id);
        }
    }

    /// Returns the device of a number; `None` for an unassigned number.
    pub(crate) fn id(&self, number: DeviceNumber) -> Option<DeviceId> {
        self.ids.get(number as usize).copied()
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
        // A duplicate would shift the numbers of all devices after it.
        match devices.ids.len() == ids.len() {
            true => Ok(devices),
            false => Err(serde::de::Error::custom("a device that is there twice")),
        }
    }
}

#[cfg(test)]
mod tests {
    use stronghold_sync::{Ancestors, Location, Selection};

    use super::*;
    use crate::ages::ms;
    use crate::{Entry, Labels, Revision, Stronghold};

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 32])
    }

    fn written_by(author: u8, location: &Location) -> Entry {
        let revision = Revision {
            salt: [author; 32],
            author: device(author),
            ancestors: Ancestors::default(),
            deleted: false,
            labels: Labels::new(),
            time: ms(1),
            value: vec![author].into(),
        };
        Entry { location: location.clone(), revision }
    }

    #[test]
    fn a_device_has_one_number_for_ever() {
        let mut devices = Devices::default();
        let numbers: Vec<u32> = [5, 6, 5, 7, 6].map(|id| devices.number(device(id))).into();
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        assert_eq!((devices.id(0), devices.id(2), devices.id(3)), (Some(device(5)), Some(device(7)), None));
        let load = |ids: &[DeviceId]| rmp_serde::from_slice::<Devices>(&rmp_serde::to_vec(ids).unwrap());
        assert_eq!(load(&devices.ids).unwrap().number(device(7)), 2);
        assert!(load(&[device(1), device(2), device(1)]).is_err());
    }

    #[test]
    fn devices_are_appended_behind_those_there_are_and_the_last_ones_removed() {
        let of = |ids: &[u8]| {
            let mut devices = Devices::default();
            ids.iter().for_each(|id| _ = devices.number(device(*id)));
            devices
        };
        let appended = |number: usize, ids: &[u8]| {
            let mut devices = of(&[1, 2]);
            devices.append((number, ids.iter().map(|id| device(*id)).collect())).map(|()| devices.ids)
        };
        assert_eq!(of(&[1, 2, 3, 4]).behind(2), (2, &[device(3), device(4)][..]));
        assert_eq!(appended(2, &[3, 4]), Ok(of(&[1, 2, 3, 4]).ids));
        assert_eq!(appended(2, &[]), Ok(of(&[1, 2]).ids));
        for (number, ids) in [(1, &[3][..]), (3, &[3]), (2, &[1]), (2, &[3, 3])] {
            assert_eq!(appended(number, ids), Err(DecodeError), "{number} {ids:?}");
        }
        let mut devices = of(&[1, 2, 3]);
        devices.truncate(1);
        assert_eq!((devices.len(), devices.id(1)), (1, None));
        assert_eq!([4, 3, 1].map(|id| devices.number(device(id))), [1, 2, 0]);
        devices.truncate(9);
        assert_eq!(devices.len(), 3);
    }

    #[test]
    fn devices_that_no_revision_names_any_more_are_left_out_when_the_whole_is_stored() {
        let mut held = Stronghold::new("here").unwrap();
        let (one, two): (Location, Location) = ("c/v/1".parse().unwrap(), "d/w/2".parse().unwrap());
        for (author, from, location) in [(1, 2, &one), (3, 4, &two), (5, 3, &two)] {
            held.import(&[written_by(author, location)], device(from), ms(9), |_, _, _| Ok(())).unwrap();
        }
        held.write(&one, b"own", Labels::new(), ms(10)).unwrap();
        let load = |held: &Stronghold| -> Stronghold {
            let whole = held.compacted().unwrap();
            Stronghold::from_payload(&whole.as_ref().unwrap_or(held).to_payload().unwrap()).unwrap()
        };
        assert!(held.compacted().unwrap().is_none(), "all are named");
        assert!(Stronghold::new("there").unwrap().compacted().unwrap().is_none(), "there is none");
        let before = load(&held);
        assert_eq!(before.devices.ids, held.devices.ids, "all are named");
        assert_eq!(before.devices.ids.len(), 6);
        held.purge(&Selection::everything());
        let (after, own) = (load(&held), held.identity.device());
        let mut named = after.devices.ids.clone();
        named.sort_by_key(|id| (*id == own, *id));
        assert_eq!(named, [device(3), device(4), device(5), own]);
        assert_eq!(after.history(&one).unwrap(), held.history(&one).unwrap());
        assert_eq!(after.history(&two).unwrap(), held.history(&two).unwrap());
        assert_eq!(after.verify(), Ok(3));
        assert!(after.compacted().unwrap().is_none());
    }

    #[test]
    fn a_revision_of_a_device_that_is_not_in_the_table_is_not_loaded() {
        let mut held = Stronghold::new("here").unwrap();
        let location: Location = "c/v/1".parse().unwrap();
        held.import(&[written_by(1, &location)], device(2), ms(9), |_, _, _| Ok(())).unwrap();
        let loads = |held: &Stronghold| Stronghold::from_payload(&held.to_payload().unwrap()).is_ok();
        assert!(loads(&held));
        let whole = std::mem::take(&mut held.devices);
        for left in [&whole.ids[..1], &whole.ids[..0]] {
            held.devices = Devices::default();
            left.iter().for_each(|id| _ = held.devices.number(*id));
            assert!(!loads(&held), "{left:?}");
        }
    }
}
