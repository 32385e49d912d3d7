//! Whether a server can use its snapshot: told once when it can't, and once when it can again.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use stronghold_snapshot::{Home, HomeError};

use crate::home::SharedHome;

/// What was last told of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Health {
    wrong: Mutex<Option<String>>,
    seen: Mutex<Option<Seen>>,
}

/// The file as it was when it was looked at, and its generation: one that changes without another generation was not changed
/// by a Stronghold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    generation: u64,
    length: u64,
    modified: Option<SystemTime>,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The snapshot can't be used, for this reason.
    NotReady(String),
    /// It can be used again.
    Ready,
}

impl Health {
    /// Looks at the file; gives the reason why it can't be used, and what is to be told of it.
    pub(crate) fn look(&self, home: &SharedHome) -> (Result<(), String>, Option<Change>) {
        let found = self.found(&mut home.lock()).map_err(|error| reason(&error));
        let change = match &found {
            Err(reason) => self.note(reason.clone()),
            Ok(()) if home.is_unwritable() => None,
            Ok(()) => self.wrong().take().map(|_| Change::Ready),
        };
        (found, change)
    }

    fn found(&self, home: &mut Home) -> Result<(), HomeError> {
        home.refresh()?;
        let now = std::fs::metadata(home.file().path()).ok().map(|file| Seen {
            generation: home.file().lineage().generation(),
            length: file.len(),
            modified: file.modified().ok(),
        });
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(before), Some(now)) = (&*seen, &now)
            && before != now
            && before.generation == now.generation
        {
            home.refresh_whole()?;
        }
        *seen = now;
        Ok(())
    }

    /// Notes a reason; gives it to be told, unless it was told last.
    pub(crate) fn note(&self, reason: String) -> Option<Change> {
        let mut wrong = self.wrong();
        if wrong.as_ref() == Some(&reason) {
            return None;
        }
        *wrong = Some(reason.clone());
        Some(Change::NotReady(reason))
    }

    fn wrong(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, as far as they are not in its text already.
pub(crate) fn reason(error: &HomeError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
