//! The stored form of a Stronghold: records in an order by which one of them is found without
//! reading the others, then everything else. Values stay sealed; ids are recomputed from names.
//!
//! `stronghold-snapshot/FORMAT.md`, section 7, describes it byte by byte.

mod fences;
mod loader;

use std::{collections::BTreeMap, ops::Range};

use serde::{Deserialize, Serialize};
use stronghold_sync::{ClientId, LocationId, Policy, RecordId, VaultId, check_name};
use zeroize::Zeroizing;

use crate::{
    ages::Limits,
    audit::AuditLog,
    crypto::{identity::Identity, key_bytes, salts::Salts},
    devices::{DeviceNumber, Devices},
    digests::Digests,
    encoding::{self, DecodeError, EncodeError},
    journal::Loaded,
    locked::LockedKey,
    order::{Order, SortKey},
    peers::Peers,
    record::Record,
    steps::Steps,
    stronghold::{Client, Stronghold, Vault},
};
use fences::{FENCE_DISTANCE, FENCE_LEN, Fences};
pub use loader::Loader;

/// Length of the front of an entry: its length and the number of its vault.
const ENTRY_FRONT: usize = 8;
const TRAILER_LEN: u64 = 56;

/// The device's names and keys: all that reading a record takes.
#[derive(Deserialize)]
struct Names {
    order: Order,
    name: String,
    #[serde(with = "key_bytes")]
    identity: LockedKey,
    devices: Devices,
    clients: Vec<(Box<str>, Vec<VaultNames>)>,
}

#[derive(Serialize)]
struct NamesRef<'a> {
    order: &'a Order,
    name: &'a str,
    #[serde(with = "key_bytes")]
    identity: &'a LockedKey,
    devices: &'a Devices,
    clients: Vec<(&'a str, Vec<VaultNamesRef<'a>>)>,
}

#[derive(Deserialize)]
struct VaultNames(Box<str>, #[serde(with = "key_bytes")] LockedKey);

#[derive(Serialize)]
struct VaultNamesRef<'a>(&'a str, #[serde(with = "key_bytes")] &'a LockedKey);

/// The lengths of the parts, from the trailer.
struct Parts {
    records: u64,
    fences: u64,
    names: u64,
    state: u64,
    steps: u64,
    log: u64,
    /// Number of records.
    count: u64,
}

impl Parts {
    /// Parses the trailer of a payload of `len` bytes.
    fn parse(trailer: &[u8], len: u64) -> Result<Self, DecodeError> {
        let (fields, _) = trailer.as_chunks::<8>();
        let [records, fences, names, state, steps, log, count] =
            <[[u8; 8]; 7]>::try_from(fields).map_err(|_| DecodeError)?.map(u64::from_be_bytes);
        let sum = [records, fences, names, state, steps, log, TRAILER_LEN]
            .into_iter()
            .try_fold(0_u64, |sum, len| sum.checked_add(len));
        match sum == Some(len) && fences % FENCE_LEN == 0 {
            true => Ok(Self { records, fences, names, state, steps, log, count }),
            false => Err(DecodeError),
        }
    }

    fn fences(&self) -> Range<u64> {
        self.records..self.records + self.fences
    }

    fn names(&self) -> Range<u64> {
        let from = self.fences().end;
        from..from + self.names
    }

    fn state(&self) -> Range<u64> {
        let from = self.names().end;
        from..from + self.state
    }

    fn steps(&self) -> Range<u64> {
        let from = self.state().end;
        from..from + self.steps
    }

    fn log(&self) -> Range<u64> {
        let from = self.steps().end;
        from..from + self.log
    }
}

/// A record in its place among the entries.
struct Placed<'a> {
    key: SortKey,
    id: RecordId,
    vault: u32,
    record: &'a Record,
}

impl Stronghold {
    /// Returns the stored form: the payload of a snapshot.
    ///
    /// # Errors
    /// [`EncodeError`] if the Stronghold was [opened in part](Self::open_records).
    pub fn to_payload(&self) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        if self.loaded.is_some() {
            return Err(EncodeError);
        }
        let placed = self.placed()?;
        encoding::fill(|out| {
            let mut fences: Vec<(SortKey, u64)> = Vec::new();
            for Placed { key, vault, record, .. } in &placed {
                let from = out.len() as u64;
                out.write_framed(&vault.to_be_bytes(), record)?;
                if fences.last().is_none_or(|(_, at)| out.len() as u64 > at + FENCE_DISTANCE) {
                    fences.push((*key, from));
                }
            }
            let mut ends = vec![out.len()];
            fences.iter().flat_map(|(key, at)| [key, at]).for_each(|field| out.put(&field.to_be_bytes()));
            ends.push(out.len());
            out.write(&self.names_to_store())?;
            ends.push(out.len());
            out.write(&(&self.peers, &self.policy))?;
            ends.push(out.len());
            out.write(&self.steps)?;
            ends.push(out.len());
            out.write(&self.log)?;
            ends.push(out.len());
            let lens = std::iter::once(ends[0]).chain(ends.windows(2).map(|ends| ends[1] - ends[0]));
            lens.chain([placed.len()]).for_each(|len| out.put(&(len as u64).to_be_bytes()));
            Ok(())
        })
    }

    /// Returns a copy without the devices that no record names; `None` if all are named. Storing
    /// the whole is the time to forget them: until then, what is stored counts on their numbers.
    ///
    /// # Errors
    /// As [`to_payload`](Self::to_payload).
    #[doc(hidden)]
    pub fn compacted(&self) -> Result<Option<Self>, EncodeError> {
        if self.devices.are_named_in(&self.clients) {
            return Ok(None);
        }
        let mut copy = Self::from_payload(&self.to_payload()?).map_err(|_| EncodeError)?;
        copy.devices.retain_named_in(&mut copy.clients);
        Ok(Some(copy))
    }

    /// Returns whether changes can be stored: not if records were loaded to be read alone.
    pub fn is_writable(&self) -> bool {
        self.loaded.as_ref().is_none_or(|loaded| loaded.steps)
    }

    /// Returns whether only some records are loaded: see [`open_records`](Self::open_records).
    pub fn is_partial(&self) -> bool {
        self.loaded.is_some()
    }

    /// Returns all records in the order in which they are stored.
    fn placed(&self) -> Result<Vec<Placed<'_>>, EncodeError> {
        let mut placed = Vec::with_capacity(self.record_count());
        let vaults = self.clients.values().flat_map(|client| client.vaults.values());
        for (number, vault) in vaults.enumerate() {
            let number = u32::try_from(number).map_err(|_| EncodeError)?;
            placed.extend(vault.records.iter().map(|(id, record)| Placed {
                key: self.order.key_of(id),
                id: *id,
                vault: number,
                record,
            }));
        }
        placed.sort_unstable_by_key(|placed| (placed.key, placed.id));
        Ok(placed)
    }

    fn names_to_store(&self) -> NamesRef<'_> {
        fn vaults(client: &Client) -> Vec<VaultNamesRef<'_>> {
            client.vaults.values().map(|vault| VaultNamesRef(&vault.name, &vault.key)).collect()
        }
        NamesRef {
            order: &self.order,
            name: &self.name,
            identity: self.identity.secret(),
            devices: &self.devices,
            clients: self.clients.values().map(|client| (&*client.name, vaults(client))).collect(),
        }
    }

    /// Loads a Stronghold from its stored form. A [`Loader`] loads one that is not in memory as a
    /// whole.
    ///
    /// # Errors
    /// [`DecodeError`] if no Stronghold could have been stored like this.
    pub fn from_payload(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut loader = Loader::begin(bytes.len() as u64, |range| slice(bytes, range))?;
        loader.push(slice(bytes, 0..loader.records_len())?)?;
        loader.finish()
    }

    /// Loads these records alone from the stored form of `len` bytes, of which `read` returns any
    /// part. The log and all other records are missing: such a Stronghold can be read at these
    /// locations and, if `to_write` is set, changed there, but can't be stored as a whole.
    ///
    /// # Errors
    /// [`DecodeError`] if what is read could not have been stored, or the error of `read`.
    pub fn open_records<E: From<DecodeError>>(
        len: u64,
        mut read: impl FnMut(Range<u64>) -> Result<Zeroizing<Vec<u8>>, E>,
        wanted: &[LocationId],
        to_write: bool,
    ) -> Result<Self, E> {
        let from = len.checked_sub(TRAILER_LEN).ok_or(DecodeError)?;
        let parts = Parts::parse(&read(from..len)?, len)?;
        let mut loaded = Self::without_records(&read(parts.names())?, &read(parts.state())?)?;
        let fences = read(parts.fences())?;
        let vaults = loaded.vault_ids();
        if to_write {
            loaded.steps = encoding::decode(&read(parts.steps())?)?;
        }
        loaded.loaded = Some(Loaded { records: wanted.iter().copied().collect(), steps: to_write });
        for id in wanted {
            let range = Fences::new(&fences).range_of(loaded.order.key_of(&id.record), parts.records);
            let entries = read(range)?;
            let mut rest = &entries[..];
            while !rest.is_empty() {
                let (vault, encoded) = take_entry(&mut rest)?;
                if vaults.get(vault) == Some(&(id.client, id.vault)) {
                    let record: Record = encoding::decode_sealed(encoded)?;
                    if RecordId::of(id.vault, &record.name) == id.record {
                        loaded.put_record(*id, record)?;
                        break;
                    }
                }
            }
        }
        Ok(loaded)
    }

    /// Loads everything but the records and the log.
    fn without_records(names: &[u8], state: &[u8]) -> Result<Self, DecodeError> {
        let names: Names = encoding::decode(names)?;
        let (peers, policy): (Peers, Policy) = encoding::decode(state)?;
        let identity = Identity::from_locked(names.identity).map_err(|_| DecodeError)?;
        let (mut clients, mut last) = (BTreeMap::new(), None);
        for (name, vaults) in names.clients {
            check_name(&name).map_err(|_| DecodeError)?;
            let id = ClientId::of(&name);
            let vaults = vaults_of(id, vaults)?;
            if last.replace(id).is_some_and(|last| last >= id) {
                return Err(DecodeError);
            }
            clients.insert(id, Client { name, vaults });
        }
        Ok(Self {
            clients,
            identity,
            name: names.name,
            peers,
            policy,
            log: AuditLog::default(),
            steps: Steps::default(),
            devices: names.devices,
            order: names.order,
            salts: Salts::default(),
            journal: None,
            loaded: Some(Loaded::default()),
            generation: 0,
            limits: Limits::default(),
            digests: Digests::default(),
            unchecked_disclosures: 0,
        })
    }

    /// Returns the ids of all vaults, in the order of their numbers.
    fn vault_ids(&self) -> Vec<(ClientId, VaultId)> {
        let clients = self.clients.iter();
        clients.flat_map(|(client, held)| held.vaults.keys().map(|vault| (*client, *vault))).collect()
    }

    /// Puts a loaded record in its place. Refuses a revision of a device that is not in the table.
    pub(crate) fn put_record(&mut self, id: LocationId, record: Record) -> Result<(), DecodeError> {
        let record = self.checked(record)?;
        self.note_for_digests(&id);
        self.vault_mut(&id).ok_or(DecodeError)?.records.insert(id.record, record);
        Ok(())
    }

    /// Returns a record if the table has all devices of its revisions.
    fn checked(&self, record: Record) -> Result<Record, DecodeError> {
        let is_known = |number: DeviceNumber| self.devices.id(number).is_some();
        let are_known = record.revisions().all(|revision| {
            let via = revision.origin.delivered().map(|(via, _)| via);
            is_known(revision.origin.author) && via.is_none_or(is_known)
        });
        are_known.then_some(record).ok_or(DecodeError)
    }
}

/// Returns the vaults of a client: with valid names, in the order of their ids.
fn vaults_of(client: ClientId, stored: Vec<VaultNames>) -> Result<BTreeMap<VaultId, Vault>, DecodeError> {
    let (mut vaults, mut last) = (BTreeMap::new(), None);
    for VaultNames(name, key) in stored {
        check_name(&name).map_err(|_| DecodeError)?;
        let id = VaultId::of(client, &name);
        if last.replace(id).is_some_and(|last| last >= id) {
            return Err(DecodeError);
        }
        vaults.insert(id, Vault { name, key, records: BTreeMap::new() });
    }
    Ok(vaults)
}

fn slice(bytes: &[u8], range: Range<u64>) -> Result<&[u8], DecodeError> {
    let at = |at: u64| usize::try_from(at).map_err(|_| DecodeError);
    bytes.get(at(range.start)?..at(range.end)?).ok_or(DecodeError)
}

/// Takes the first entry and returns the number of its vault and the encoded record.
fn take_entry<'a>(rest: &mut &'a [u8]) -> Result<(usize, &'a [u8]), DecodeError> {
    let len = entry_len(rest).ok_or(DecodeError)?;
    let (entry, behind) = rest.split_at_checked(len).ok_or(DecodeError)?;
    *rest = behind;
    let (front, encoded) = entry.split_first_chunk::<ENTRY_FRONT>().ok_or(DecodeError)?;
    Ok((number(&front[4..]), encoded))
}

/// Returns the length of the first entry, in bytes; `None` if it is not at hand.
fn entry_len(rest: &[u8]) -> Option<usize> {
    rest.first_chunk::<4>().and_then(|len| number(len).checked_add(4))
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use serde_bytes::Bytes;
    use stronghold_sync::Location;

    use super::*;
    use crate::Labels;
    use crate::ages::ms;

    type Vaults<'a> = Vec<(&'a str, &'a Bytes)>;

    /// Stores these entries, fences and clients, with as many records as `count`.
    fn stored(
        entries: &[(u32, Vec<u8>)],
        fences: &[(u64, u64)],
        clients: &[(&str, Vaults<'_>)],
        count: u64,
    ) -> Vec<u8> {
        let mut parts = [const { Vec::new() }; 6];
        for (vault, record) in entries {
            parts[0].extend((record.len() as u32 + 4).to_be_bytes());
            parts[0].extend(vault.to_be_bytes());
            parts[0].extend(record);
        }
        parts[1] =
            fences.iter().flat_map(|(key, at)| [key.to_be_bytes(), at.to_be_bytes()].concat()).collect();
        let (order, identity) = ([3; 16], [1; 32]);
        let names = (Bytes::new(&order), "device", Bytes::new(&identity), Devices::default(), clients);
        parts[2] = rmp_serde::to_vec(&names).unwrap();
        parts[3] = rmp_serde::to_vec(&(Peers::default(), Policy::default())).unwrap();
        parts[4] = rmp_serde::to_vec(&Steps::default()).unwrap();
        parts[5] = rmp_serde::to_vec(&AuditLog::default()).unwrap();
        let lens = parts.iter().map(|part| part.len() as u64).chain([count]);
        [parts.concat(), lens.flat_map(u64::to_be_bytes).collect()].concat()
    }

    #[test]
    fn what_could_not_have_been_stored_is_not_loaded() {
        let key = [2; 32];
        let vault = |name| (name, Bytes::new(&key));
        let loads =
            |clients: &[(&str, Vaults<'_>)]| Stronghold::from_payload(&stored(&[], &[], clients, 0)).is_ok();
        // In the order of the ids, which are hashes.
        let (first, second) = match ClientId::of("a") < ClientId::of("b") {
            true => ("a", "b"),
            false => ("b", "a"),
        };
        assert!(loads(&[]));
        assert!(loads(&[(first, vec![vault("v")]), (second, vec![vault("v")])]));
        assert!(!loads(&[(second, vec![vault("v")]), (first, vec![vault("v")])]), "not in order");
        assert!(!loads(&[("a", vec![vault("v")]), ("a", vec![vault("w")])]), "of two, one would be lost");
        assert!(!loads(&[("a", vec![vault("v"), vault("v")])]));
        assert!(!loads(&[("a/b", vec![vault("v")])]));
        assert!(!loads(&[("a", vec![vault("")])]));
        assert!(!loads(&[("a", vec![("v", Bytes::new(&key[1..]))])]));
        let no_heads = rmp_serde::to_vec(&("r", Vec::<()>::new(), Vec::<()>::new())).unwrap();
        let clients = [("a", vec![vault("v")])];
        assert!(Stronghold::from_payload(&stored(&[(0, no_heads)], &[], &clients, 1)).is_err());
    }

    fn at(number: u32) -> Location {
        format!("c{}/v{}/record {number}", number % 2, number % 3).parse().unwrap()
    }

    /// A Stronghold whose records take several times the distance of two fences.
    fn large() -> Stronghold {
        let mut held = Stronghold::new("here").unwrap();
        for number in 0..900 {
            let value = vec![number as u8; number as usize % 700];
            held.write(&at(number), &value, Labels::new(), ms(1)).unwrap();
        }
        held.write(&at(900), &[7; 200_000], Labels::new(), ms(1)).unwrap();
        held
    }

    /// Loads a payload whose records arrive in pieces of `len` bytes.
    fn loaded_in_pieces(payload: &[u8], len: usize) -> Result<Stronghold, DecodeError> {
        let mut loader = Loader::begin(payload.len() as u64, |range| slice(payload, range))?;
        let records = slice(payload, 0..loader.records_len())?;
        records.chunks(len).try_for_each(|piece| loader.push(piece))?;
        loader.finish()
    }

    #[test]
    fn records_arrive_in_pieces_of_any_length() {
        let payload = large().to_payload().unwrap();
        let records = Parts::parse(&payload[payload.len() - 56..], payload.len() as u64).unwrap().records;
        for len in [1, 3, 4, 5, 7, 8, 9, 100, 1_000, 65_536, 250_000, records as usize] {
            let loaded = loaded_in_pieces(&payload, len).unwrap();
            assert_eq!(*loaded.to_payload().unwrap(), *payload, "{len}");
        }
        let begin = || Loader::begin(payload.len() as u64, |range| slice(&payload, range)).unwrap();
        for end in [0, 1, 4, 100, records as usize - 1] {
            let mut cut = begin();
            cut.push(&payload[..end]).unwrap();
            assert!(cut.finish().is_err(), "{end}");
        }
        let mut more = begin();
        more.push(&payload[..records as usize]).unwrap();
        let is_refused = more.push(&[0; 8]).is_err() || more.finish().is_err();
        assert!(is_refused, "an entry too many");
    }

    /// Reads a payload in parts, and counts the bytes.
    fn open(payload: &[u8], wanted: &[LocationId], read: &mut u64) -> Result<Stronghold, DecodeError> {
        let part = |range: Range<u64>| {
            *read += range.end - range.start;
            slice(payload, range).map(|part| Zeroizing::new(part.to_vec()))
        };
        Stronghold::open_records(payload.len() as u64, part, wanted, true)
    }

    #[test]
    fn one_record_is_found_without_the_others() {
        let whole = large();
        let payload = whole.to_payload().unwrap();
        let mut most = 0;
        for number in 0..901 {
            let mut read = 0;
            let part = open(&payload, &[at(number).id()], &mut read).unwrap();
            assert_eq!(part.read(&at(number)).unwrap().revision, whole.read(&at(number)).unwrap().revision);
            assert_eq!(part.records().count(), 1);
            assert!(part.is_partial() && !whole.is_partial());
            if number < 900 {
                most = most.max(read);
            }
        }
        assert!(most < 300_000 && payload.len() > 500_000, "{most} of {}", payload.len());
        let missing: Location = "c0/v0/none".parse().unwrap();
        let part = open(&payload, &[missing.id(), at(3).id(), at(4).id()], &mut 0).unwrap();
        assert_eq!((part.contains(&missing), part.records().count()), (false, 2));
        assert_eq!(part.to_payload().unwrap_err(), EncodeError, "the rest would be lost");
    }

    #[test]
    fn entries_and_fences_must_be_in_order_and_complete() {
        let payload = large().to_payload().unwrap();
        let len = payload.len() as u64;
        let parts = Parts::parse(&payload[payload.len() - 56..], len).unwrap();
        assert!(parts.fences > 5 * FENCE_LEN);
        assert!(Stronghold::from_payload(&payload).is_ok());
        let altered = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut altered = payload.to_vec();
            change(&mut altered);
            Stronghold::from_payload(&altered).err()
        };
        let fences = parts.fences().start as usize;
        for at in [0, 7, 8, 15, 16, 31] {
            assert_eq!(altered(&|bytes| bytes[fences + at] ^= 1), Some(DecodeError), "fence byte {at}");
        }
        let mut rest = &payload[..parts.records as usize];
        let ends = [(); 3].map(|()| {
            take_entry(&mut rest).unwrap();
            parts.records as usize - rest.len()
        });
        assert_eq!(altered(&|bytes| bytes[..ends[1]].rotate_left(ends[0])), Some(DecodeError));
        let no_fence = |bytes: &mut Vec<u8>| bytes[ends[0]..ends[2]].rotate_left(ends[1] - ends[0]);
        assert_eq!(altered(&no_fence), Some(DecodeError));
        let trailer = payload.len() - 56;
        for field in 0..7 {
            assert_eq!(altered(&|bytes| bytes[trailer + 8 * field + 7] ^= 1), Some(DecodeError), "{field}");
            assert_eq!(altered(&|bytes| bytes[trailer + 8 * field] = 0xff), Some(DecodeError), "{field}");
        }
        assert_eq!(altered(&|bytes| bytes.clear()), Some(DecodeError));
    }

    #[test]
    fn a_record_is_stored_only_once() {
        let mut held = Stronghold::new("here").unwrap();
        held.write(&at(1), b"value", Labels::new(), ms(1)).unwrap();
        let payload = held.to_payload().unwrap();
        let (front, trailer) = payload.split_at(payload.len() - 56);
        let records = Parts::parse(trailer, payload.len() as u64).unwrap().records;
        let mut twice = [&front[..records as usize], front, trailer].concat();
        let at = twice.len() - 56;
        twice[at..at + 8].copy_from_slice(&(2 * records).to_be_bytes());
        twice[at + 48..].copy_from_slice(&2_u64.to_be_bytes());
        assert_eq!(Stronghold::from_payload(&twice).err(), Some(DecodeError));
    }

    #[test]
    fn fences_are_stored_whole() {
        let mut held = Stronghold::new("here").unwrap();
        held.write(&at(1), b"value", Labels::new(), ms(1)).unwrap();
        let payload = held.to_payload().unwrap();
        let (front, trailer) = payload.split_at(payload.len() - 56);
        let parts = Parts::parse(trailer, payload.len() as u64).unwrap();
        let (entries_and_fences, rest) = front.split_at(parts.fences().end as usize);
        let mut longer = [entries_and_fences, &[0], rest, trailer].concat();
        let at = longer.len() - 56 + 8;
        longer[at..at + 8].copy_from_slice(&(FENCE_LEN + 1).to_be_bytes());
        assert_eq!(Stronghold::from_payload(&longer).err(), Some(DecodeError));
    }

    #[test]
    fn records_of_one_name_are_told_apart_by_their_vaults() {
        let mut held = Stronghold::new("here").unwrap();
        let all = ["a/v/r", "a/w/r", "b/v/r", "b/w/r"].map(|name| name.parse::<Location>().unwrap());
        let (missing, written) = all.split_last().unwrap();
        for location in written {
            held.write(location, location.to_string().as_bytes(), Labels::new(), ms(1)).unwrap();
        }
        held.write(&"b/w/other".parse().unwrap(), b"other", Labels::new(), ms(1)).unwrap();
        let payload = held.to_payload().unwrap();
        for location in written {
            let part = open(&payload, &[location.id()], &mut 0).unwrap();
            assert_eq!(**part.read(location).unwrap().revision.value, *location.to_string().as_bytes());
            assert_eq!(part.records().count(), 1);
        }
        assert_eq!(open(&payload, &[missing.id()], &mut 0).unwrap().records().count(), 0);
    }

    #[test]
    fn records_with_equal_sort_keys_are_found() {
        let fence = |key: u64, at: u64| [key.to_be_bytes(), at.to_be_bytes()].concat();
        let bytes = [fence(5, 0), fence(5, 100), fence(5, 200), fence(9, 300)].concat();
        let fences = Fences::new(&bytes);
        for (key, range) in [(4, 0..0), (5, 0..300), (6, 200..300), (9, 200..400), (10, 300..400)] {
            assert_eq!(fences.range_of(key, 400), range, "{key}");
        }
        assert_eq!(Fences::new([]).range_of(1, 400), 0..400);
        assert_eq!(fences.range_of(5, 50), 0..50, "no further than there are entries");
    }
}
