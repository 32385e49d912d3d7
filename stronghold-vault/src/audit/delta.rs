//! The difference of two states of a log, as it is stored with a change.

use serde::{Deserialize, Serialize};

use super::{AuditLog, ChainedEntry, checkpoint::Checkpoint};
use crate::encoding::DecodeError;

/// The entries of a log that are new or changed.
#[derive(Serialize)]
pub(crate) struct LogDelta<'a> {
    /// Number of first entries that stay.
    kept: usize,
    /// The checkpoint, if it changed.
    checkpoint: Option<&'a Checkpoint>,
    entries: &'a [ChainedEntry],
}

/// [`LogDelta`] as loaded.
#[derive(Deserialize)]
pub(crate) struct LoadedLogDelta {
    kept: usize,
    checkpoint: Option<Checkpoint>,
    entries: Vec<ChainedEntry>,
}

impl<'a> LogDelta<'a> {
    /// Compares two states; `None` if they are equal. An entry's hash covers those before it, so
    /// the first that differs is where the rest begins.
    pub(crate) fn new(before: &AuditLog, now: &'a AuditLog) -> Option<Self> {
        let checkpoint = (before.checkpoint != now.checkpoint).then_some(&now.checkpoint);
        let both = before.entries.iter().zip(&now.entries);
        let kept = match checkpoint {
            None => both.take_while(|(before, now)| before.hash == now.hash).count(),
            Some(_) => 0,
        };
        let is_same = checkpoint.is_none() && kept == now.entries.len() && kept == before.entries.len();
        (!is_same).then_some(Self { kept, checkpoint, entries: &now.entries[kept..] })
    }
}

impl AuditLog {
    /// Applies a difference.
    pub(crate) fn apply(&mut self, delta: LoadedLogDelta) -> Result<(), DecodeError> {
        if delta.kept > self.entries.len() {
            return Err(DecodeError);
        }
        self.entries.truncate(delta.kept);
        self.entries.extend(delta.entries);
        delta.checkpoint.into_iter().for_each(|checkpoint| self.checkpoint = checkpoint);
        Ok(())
    }
}
