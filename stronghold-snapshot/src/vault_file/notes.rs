//! Notes of the state of a file against rollback, kept as it changes.

use std::time::{Duration, Instant};

use crate::file::rollback::{NoteError, RollbackGuard};

use super::{VaultFile, VaultFileError};

/// Minimum time between two notes, unless notes are required: each costs a sync of its own.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// The notes that a device keeps of its files against rollback, and the policy for failures.
#[derive(Debug, Clone)]
pub struct RollbackNotes {
    /// Where notes are kept; `None` if the system names no folder for them.
    pub guard: Option<RollbackGuard>,
    /// If set, nothing is opened or written while notes can't be read or written.
    pub required: bool,
    /// Called when a note can't be read or written: an old copy in the file's place would go
    /// undetected.
    pub on_failure: fn(&NoteError),
}

/// The treatment of a file that is older than its note, or a different file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRollback {
    /// Refuse to open the file.
    Refuse,
    /// Open the file and note it from now on.
    Accept,
}

impl VaultFile {
    /// Sets where the file's state is noted: now, with the next change, and then at most once a
    /// minute and when this is dropped. If notes are required, with each change.
    ///
    /// # Errors
    /// [`VaultFileError::Notes`] if notes are required and can't be written.
    pub fn set_rollback_notes(&mut self, notes: RollbackNotes) -> Result<(), VaultFileError> {
        self.notes = Some(notes);
        (self.noted, self.next_note) = (None, None);
        let noted = self.note();
        self.report_failed(noted)
    }

    pub(super) fn note(&mut self) -> Result<(), NoteError> {
        let hash = self.file.sealer().chain_value();
        match &self.notes {
            Some(RollbackNotes { guard: Some(seen), .. }) if self.noted != Some(hash) => {
                seen.remember(&self.file)?
            }
            Some(RollbackNotes { guard: None, .. }) => return Err(NoteError::NoFolder),
            _ => {}
        }
        if self.noted != Some(hash) {
            (self.noted, self.reported) = (Some(hash), false);
        }
        Ok(())
    }

    /// Returns whether a change is to be noted now.
    pub(super) fn is_note_due(&self) -> bool {
        let is_required = self.notes.as_ref().is_some_and(|notes| notes.required);
        let is_time = is_required || self.next_note.is_none_or(|next| next <= Instant::now());
        is_time && self.noted != Some(self.file.sealer().chain_value())
    }

    /// Notes a change, and reports it if that fails.
    pub(super) fn note_or_report(&mut self) {
        match self.note() {
            Ok(()) => self.next_note = Instant::now().checked_add(NOTE_EVERY),
            Err(error) => self.report_once(&error),
        }
    }

    /// Reports a failed note: as an error if notes are required, else by the callback.
    pub(super) fn report_failed(&mut self, noted: Result<(), NoteError>) -> Result<(), VaultFileError> {
        match noted {
            Err(error) if self.notes.as_ref().is_some_and(|notes| notes.required) => Err(error.into()),
            Err(error) => {
                self.report_once(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reports a failed note once, and again only after notes have worked in between.
    pub(super) fn report_once(&mut self, error: &NoteError) {
        if let Some(notes) = self.notes.as_ref().filter(|_| !self.reported) {
            (notes.on_failure)(error);
            self.reported = true;
        }
    }

    /// Checks that notes can be written, if they are required.
    pub(super) fn check_notes(&self) -> Result<(), NoteError> {
        match &self.notes {
            Some(RollbackNotes { guard: Some(seen), required: true, .. }) => seen.probe(),
            Some(RollbackNotes { guard: None, required: true, .. }) => Err(NoteError::NoFolder),
            _ => Ok(()),
        }
    }
}

impl Drop for VaultFile {
    /// Notes the changes that were not noted yet.
    fn drop(&mut self) {
        if self.next_note.is_some() {
            self.note_or_report();
        }
    }
}
