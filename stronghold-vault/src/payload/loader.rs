//! Loading a stored form that arrives in pieces.

use std::ops::Range;

use stronghold_sync::{ClientId, RecordId, VaultId};
use zeroize::Zeroizing;

use super::{Fences, Parts, TRAILER_LEN, entry_len, take_entry};
use crate::{
    encoding::{self, DecodeError},
    order::SortKey,
    record::Record,
    stronghold::Stronghold,
};

/// Loads a Stronghold whose records arrive in pieces, so that they are never in memory twice.
///
/// Everything else is read at [`begin`](Self::begin). Then come the first
/// [`records_len`](Self::records_len) bytes of the stored form, in order.
pub struct Loader {
    stronghold: Stronghold,
    vaults: Vec<(ClientId, VaultId)>,
    found: Vec<Vec<(RecordId, Record)>>,
    fences: Fences<Vec<u8>>,
    parts: Parts,
    /// Offset of the next entry.
    at: u64,
    count: u64,
    last: Option<(SortKey, RecordId)>,
    /// The begin of an entry whose end has not arrived.
    begun: Zeroizing<Vec<u8>>,
}

impl Loader {
    /// Loads everything but the records from the stored form of `len` bytes, of which `read`
    /// returns any part.
    ///
    /// # Errors
    /// [`DecodeError`] if what is read could not have been stored, or the error of `read`.
    pub fn begin<B: AsRef<[u8]>, E: From<DecodeError>>(
        len: u64,
        mut read: impl FnMut(Range<u64>) -> Result<B, E>,
    ) -> Result<Self, E> {
        let trailer = read(len.saturating_sub(TRAILER_LEN)..len)?;
        let parts = Parts::parse(trailer.as_ref(), len)?;
        let (names, state) = (read(parts.names())?, read(parts.state())?);
        let mut stronghold = Stronghold::without_records(names.as_ref(), state.as_ref())?;
        stronghold.steps = encoding::decode(read(parts.steps())?.as_ref())?;
        stronghold.log = encoding::decode(read(parts.log())?.as_ref())?;
        stronghold.loaded = None;
        let vaults = stronghold.vault_ids();
        let found = vaults.iter().map(|_| Vec::new()).collect();
        let fences = Fences::new(read(parts.fences())?.as_ref().to_vec());
        let (last, begun) = (None, Zeroizing::default());
        Ok(Self { stronghold, vaults, found, fences, parts, at: 0, count: 0, last, begun })
    }

    /// Returns the length of the records, in bytes: they come first in the stored form.
    pub fn records_len(&self) -> u64 {
        self.parts.records
    }

    /// Loads the next piece of the records, of any length.
    ///
    /// # Errors
    /// [`DecodeError`] if no Stronghold could have been stored like this.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), DecodeError> {
        while !piece.is_empty() {
            if !self.begun.is_empty() || entry_len(piece).is_none_or(|len| len > piece.len()) {
                self.complete(&mut piece)?;
            } else {
                let len = piece.len();
                let (vault, encoded) = take_entry(&mut piece)?;
                self.load(vault, encoded, len - piece.len())?;
            }
        }
        Ok(())
    }

    /// Returns the Stronghold once all records were pushed.
    ///
    /// # Errors
    /// [`DecodeError`] if one is missing, or no Stronghold could have been stored like this.
    pub fn finish(self) -> Result<Stronghold, DecodeError> {
        let Self { mut stronghold, found, fences, parts, at, count, begun, .. } = self;
        let are_all = begun.is_empty() && at == parts.records && count == parts.count;
        if !are_all || !fences.are_passed() {
            return Err(DecodeError);
        }
        let vaults = stronghold.clients.values_mut().flat_map(|client| client.vaults.values_mut());
        for (vault, mut found) in vaults.zip(found) {
            found.sort_unstable_by_key(|(id, _)| *id);
            vault.records = found.into_iter().collect();
        }
        Ok(stronghold)
    }

    /// Takes what is missing of the begun entry, and loads it if that is all.
    fn complete(&mut self, piece: &mut &[u8]) -> Result<(), DecodeError> {
        // The length itself may be cut.
        let len = entry_len(&self.begun).unwrap_or(4);
        let missing = len.saturating_sub(self.begun.len()).min(piece.len());
        let (more, rest) = piece.split_at(missing);
        self.begun.extend_from_slice(more);
        *piece = rest;
        if entry_len(&self.begun).is_none_or(|len| self.begun.len() < len) {
            return Ok(());
        }
        let mut begun = std::mem::take(&mut self.begun);
        let (vault, encoded) = take_entry(&mut &begun[..])?;
        self.load(vault, encoded, begun.len())?;
        begun.clear();
        self.begun = begun;
        Ok(())
    }

    /// Loads the next entry, which is `len` bytes long.
    fn load(&mut self, number: usize, encoded: &[u8], len: usize) -> Result<(), DecodeError> {
        let (_, vault) = self.vaults.get(number).ok_or(DecodeError)?;
        let record: Record = encoding::decode_sealed(encoded)?;
        let id = RecordId::of(*vault, &record.name);
        let key = self.stronghold.order.key_of(&id);
        // In order, and so each only once.
        if self.last.is_some_and(|last| last >= (key, id)) {
            return Err(DecodeError);
        }
        let end = self.at + len as u64;
        self.fences.pass(key, self.at, end)?;
        (self.last, self.count, self.at) = (Some((key, id)), self.count + 1, end);
        self.found[number].push((id, self.stronghold.checked(record)?));
        Ok(())
    }
}
