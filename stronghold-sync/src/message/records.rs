//! A list of records, each by no more of its ids than differ from those of the one before.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{ClientId, LocationId, RecordId, VaultId};

/// Maximum number of records in a [`RecordList`].
pub const MAX_CANDIDATES: usize = 1_000;
/// Length of a client's, vault's or record's id, in bytes.
const ID: usize = 16;

/// Some records: sorted, each once, at most [`MAX_CANDIDATES`].
///
/// The encoding is one byte string. For each record it has the number of ids that follow, one byte,
/// and the ids, 16 bytes each: the record's; before it the vault's, unless vault and client are
/// those of the record before; before that the client's, unless it is that of the record before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ByteBuf", into = "ByteBuf")]
pub struct RecordList(Vec<LocationId>);

/// The error for bytes or records that are no [`RecordList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of at most {MAX_CANDIDATES} records in their order")]
pub struct BadRecordList;

impl RecordList {
    /// Creates a list of these records.
    ///
    /// # Errors
    /// [`BadRecordList`] when they are too many, or not sorted, or one occurs twice.
    pub fn new(records: Vec<LocationId>) -> Result<Self, BadRecordList> {
        match records.len() <= MAX_CANDIDATES && records.is_sorted_by(|one, next| one < next) {
            true => Ok(Self(records)),
            false => Err(BadRecordList),
        }
    }

    /// Returns the records.
    pub fn as_slice(&self) -> &[LocationId] {
        &self.0
    }
}

/// Returns the number of ids that differ from those of the record before.
fn number_of_ids(before: Option<&LocationId>, record: &LocationId) -> u8 {
    match before {
        Some(before) if before.client != record.client => 3,
        Some(before) if before.vault != record.vault => 2,
        Some(_) => 1,
        None => 3,
    }
}

impl From<RecordList> for ByteBuf {
    fn from(list: RecordList) -> Self {
        let (mut bytes, mut before) = (Vec::new(), None);
        for record in &list.0 {
            let number = number_of_ids(before, record);
            bytes.push(number);
            let ids = [record.client.as_bytes(), record.vault.as_bytes(), record.record.as_bytes()];
            ids[3 - usize::from(number)..].iter().for_each(|id| bytes.extend_from_slice(*id));
            before = Some(record);
        }
        Self::from(bytes)
    }
}

impl TryFrom<ByteBuf> for RecordList {
    type Error = BadRecordList;

    fn try_from(bytes: ByteBuf) -> Result<Self, BadRecordList> {
        let (mut records, mut rest) = (Vec::<LocationId>::new(), bytes.as_slice());
        while let Some((&number, ids)) = rest.split_first() {
            let len = ID * usize::from(number);
            let (ids, after) = ids.split_at_checked(len).ok_or(BadRecordList)?;
            let (ids, _) = ids.as_chunks::<ID>();
            let before = records.last();
            let record = match (ids, before) {
                ([client, vault, record], _) => location(*client, *vault, *record),
                ([vault, record], Some(before)) => location(*before.client.as_bytes(), *vault, *record),
                ([record], Some(before)) => {
                    location(*before.client.as_bytes(), *before.vault.as_bytes(), *record)
                }
                _ => return Err(BadRecordList),
            };
            if number != number_of_ids(before, &record) || records.len() == MAX_CANDIDATES {
                return Err(BadRecordList);
            }
            records.push(record);
            rest = after;
        }
        Self::new(records)
    }
}

fn location(client: [u8; ID], vault: [u8; ID], record: [u8; ID]) -> LocationId {
    LocationId {
        client: ClientId::from_bytes(client),
        vault: VaultId::from_bytes(vault),
        record: RecordId::from_bytes(record),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn at(client: u8, vault: u8, record: u8) -> LocationId {
        location([client; ID], [vault; ID], [record; ID])
    }

    #[test]
    fn a_record_takes_the_ids_that_differ_from_those_before() {
        let records = vec![at(1, 1, 1), at(1, 1, 2), at(1, 2, 1), at(2, 2, 1), at(2, 2, 3)];
        let bytes: ByteBuf = RecordList::new(records.clone()).unwrap().into();
        let ids =
            |number: u8, ids: &[u8]| [vec![number], ids.iter().flat_map(|id| [*id; ID]).collect()].concat();
        let expected =
            [ids(3, &[1, 1, 1]), ids(1, &[2]), ids(2, &[2, 1]), ids(3, &[2, 2, 1]), ids(1, &[3])].concat();
        assert_eq!(bytes.as_slice(), expected);
        assert_eq!(RecordList::try_from(bytes).unwrap().as_slice(), records);
        assert_eq!(RecordList::try_from(ByteBuf::new()), Ok(RecordList::default()));
    }

    #[test]
    fn other_bytes_are_no_list() {
        let list = |parts: &[&[u8]]| RecordList::try_from(ByteBuf::from(parts.concat()));
        let (all, one) = ([&[3][..], &[1; 48]].concat(), [&[1][..], &[2; 16]].concat());
        assert_eq!(list(&[&all, &one]).unwrap().as_slice().len(), 2);
        let two = |number: u8, len: usize| [vec![number], vec![1; len]].concat();
        for bad in [
            &[&all[..48]][..],
            &[&all, &one[..16]],
            &[&one],
            &[&two(2, 32)],
            &[&[0]],
            &[&all, &[0]],
            &[&two(4, 64)],
            &[&two(255, 48)],
            // The same record, and more ids than are needed.
            &[&all, &all],
            &[&all, &two(1, 16)],
            &[&all, &[2], &[1; 16], &[2; 16]],
            &[&all, &[3], &[1; 16], &[2; 32]],
            // In another order.
            &[&all, &[1], &[0; 16]],
        ] {
            assert_eq!(list(bad), Err(BadRecordList), "{bad:?}");
        }
    }

    #[test]
    fn a_list_has_an_end() {
        let many = |number: u16| -> Vec<LocationId> {
            let id = |number: u16| {
                let mut id = [0; ID];
                id[..2].copy_from_slice(&number.to_be_bytes());
                id
            };
            (0..number).map(|number| location(id(number), id(number), id(number))).collect()
        };
        let full = RecordList::new(many(1_000)).unwrap();
        let bytes: ByteBuf = full.clone().into();
        assert!(bytes.len() <= super::super::LIST_BYTES);
        assert_eq!(RecordList::try_from(bytes.clone()), Ok(full));
        assert_eq!(RecordList::new(many(1_001)), Err(BadRecordList));
        let longer = [&bytes[..], &[1], &[255; ID]].concat();
        assert_eq!(RecordList::try_from(ByteBuf::from(longer)), Err(BadRecordList));
        assert_eq!(RecordList::new(vec![at(1, 1, 1), at(1, 1, 1)]), Err(BadRecordList));
        assert_eq!(RecordList::new(vec![at(1, 1, 2), at(1, 1, 1)]), Err(BadRecordList));
    }
}
