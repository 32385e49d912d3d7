//! A Stronghold out of the content of a file, and into it.

use std::path::Path;

use stronghold_sync::LocationId;
use stronghold_vault::{DecodeError, Loader, Stronghold};

use super::VaultFileError;
use crate::clock::now;
use crate::error::{CommitError, Damage, OpenError, OpenFileError};
use crate::file::commit::SnapshotGuard;
use crate::file::parts::PayloadReader;
use crate::file::rollback::RollbackError;
use crate::file::{Limits, Reloaded, SnapshotFile};
use crate::format::payload::Payload;
use crate::format::slot::Unlock;

/// The use for which single records are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading alone: the last commands, which writing needs, are not loaded.
    Read,
    /// Reading and writing.
    Write,
}

/// An opened file and its Stronghold.
pub(super) struct Loaded {
    pub(super) file: SnapshotFile,
    pub(super) stronghold: Stronghold,
    pub(super) is_torn: bool,
}

/// Loads a Stronghold: the base, then each change since.
pub(super) fn load(payload: &Payload) -> Result<Stronghold, DecodeError> {
    let mut stronghold = Stronghold::from_payload(payload)?;
    payload.changes().try_for_each(|changes| stronghold.apply_changes(changes))?;
    Ok(stronghold)
}

/// Loads the base of a Stronghold, and checks all of it. It is never in memory as a whole.
fn load_whole(reader: &mut PayloadReader, len: u64) -> Result<Stronghold, VaultFileError> {
    reader.check_padding(len)?;
    let mut loader = Loader::begin(len, |range| reader.read(range).map_err(VaultFileError::from))?;
    reader.read_in_order(loader.records_len(), |piece| loader.push(piece).map_err(VaultFileError::from))?;
    Ok(loader.finish()?)
}

/// Opens a file and loads the Stronghold, or these records of it alone.
pub(super) fn open_within(
    path: &Path,
    unlock: &Unlock<'_>,
    limits: &Limits,
    records: Option<(&[LocationId], Access)>,
) -> Result<Loaded, VaultFileError> {
    let (file, mut reader) = SnapshotFile::open_parts(path, unlock, limits)?;
    let len = reader.payload_len()?;
    let mut stronghold = match records {
        Some((records, access)) => {
            let read = |range| reader.read(range).map_err(VaultFileError::from);
            Stronghold::open_records(len, read, records, access == Access::Write)?
        }
        None => load_whole(&mut reader, len)?,
    };
    reader.changes().try_for_each(|changes| stronghold.apply_changes(changes))?;
    Ok(Loaded { file, stronghold, is_torn: reader.is_torn() })
}

/// Takes over what another process wrote.
pub(super) fn take_over(stronghold: &mut Stronghold, reloaded: &Reloaded) -> Result<(), DecodeError> {
    match reloaded {
        Reloaded::Whole(payload) => *stronghold = load(payload)?,
        Reloaded::Changes(all) => all.iter().try_for_each(|changes| stronghold.apply_changes(changes))?,
    }
    Ok(())
}

/// Makes the noted changes durable: appends them, or writes the whole anew where that is due.
/// Writes nothing if nothing changed.
pub(super) fn commit_changes(
    locked: &mut SnapshotGuard<'_>,
    stronghold: &mut Stronghold,
) -> Result<(), VaultFileError> {
    let changes = stronghold.changes()?;
    if changes.is_empty() {
        return Ok(());
    }
    if !locked.should_rewrite(changes.len()) {
        match locked.append(&changes) {
            Err(CommitError::MustRewrite) => {}
            result => return Ok(result?),
        }
    }
    commit_whole(locked, stronghold, |locked, payload| locked.commit(payload))
}

/// Writes the whole Stronghold by `commit`. If only some records are loaded, loads all first.
pub(super) fn commit_whole(
    locked: &mut SnapshotGuard<'_>,
    stronghold: &mut Stronghold,
    commit: impl FnOnce(&mut SnapshotGuard<'_>, &[u8]) -> Result<(), CommitError>,
) -> Result<(), VaultFileError> {
    // What is written in place of this one, if that is not what is held: it is taken over only when
    // it is durable.
    let mut other = None;
    if stronghold.is_partial() {
        let mut whole = load(&locked.reload()?)?;
        whole.apply_changes(&stronghold.changes()?)?;
        other = Some(whole);
    }
    other.as_mut().unwrap_or(stronghold).forget(now());
    if let Some(compacted) = other.as_ref().unwrap_or(stronghold).compacted()? {
        other = Some(compacted);
    }
    let payload = other.as_ref().unwrap_or(stronghold).to_payload()?;
    commit(locked, &payload)?;
    other.into_iter().for_each(|other| *stronghold = other);
    Ok(())
}

/// Tells damage from a rollback: what was reported as done is cut, not an earlier state.
pub(super) fn not_rolled_back(error: RollbackError, loaded: &Loaded) -> VaultFileError {
    match error {
        RollbackError::Older { path, .. } if loaded.is_torn => {
            OpenFileError::Snapshot { path, source: OpenError::Damaged(Damage::Tail) }.into()
        }
        error => error.into(),
    }
}
