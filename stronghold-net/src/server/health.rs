//! Tracks whether a server can use its snapshot; each change is reported once.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use stronghold_snapshot::{SharedVault, VaultFile, VaultFileError};

/// The last reported state of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Health {
    reported: Mutex<Option<String>>,
    seen: Mutex<Option<Seen>>,
}

/// Length and time of the file at the last look, and its generation. If the file changes while its
/// generation stays, the change was not made by a Stronghold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    generation: u64,
    length: u64,
    modified: Option<SystemTime>,
}

/// A change to report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The snapshot can't be used, for this reason.
    NotReady(String),
    /// The snapshot can be used again.
    Ready,
}

impl Health {
    /// Looks at the file. Returns the reason why it can't be used, and the change to report.
    pub(crate) fn check(&self, home: &SharedVault) -> (Result<(), String>, Option<Change>) {
        let found = self.reload(&mut home.lock()).map_err(|error| reason(&error));
        let change = match &found {
            Err(reason) => self.note(reason.clone()),
            Ok(()) if home.is_unwritable() => None,
            Ok(()) => self.wrong().take().map(|_| Change::Ready),
        };
        (found, change)
    }

    fn reload(&self, home: &mut VaultFile) -> Result<(), VaultFileError> {
        home.refresh()?;
        let now = std::fs::metadata(home.file().path()).ok().map(|file| Seen {
            generation: home.file().sealer().generation(),
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

    /// Notes a reason. Returns the change to report, unless this reason was the last one reported.
    pub(crate) fn note(&self, reason: String) -> Option<Change> {
        let mut wrong = self.wrong();
        if wrong.as_ref() == Some(&reason) {
            return None;
        }
        *wrong = Some(reason.clone());
        Some(Change::NotReady(reason))
    }

    fn wrong(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns an error's text with its causes, except those that the text already contains.
pub(crate) fn reason(error: &VaultFileError) -> String {
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

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use stronghold_snapshot::{Action, LockError, StorageError};

    use super::*;
    use crate::common::Device;

    /// Keeps its cause to itself.
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_reason_is_told_once_until_it_is_another() {
        let health = Health::default();
        let told = |reason: &str| Some(Change::NotReady(reason.into()));
        assert_eq!(health.note("gone".into()), told("gone"));
        assert_eq!(health.note("gone".into()), None);
        assert_eq!(health.note("damaged".into()), told("damaged"));
        assert_eq!(health.note("gone".into()), told("gone"));
    }

    #[test]
    fn a_snapshot_that_is_gone_and_comes_back_is_told_of_once() {
        let (device, health) = (Device::new("device"), Health::default());
        let (path, away) = (device.path(), device.path().with_extension("away"));
        assert_eq!(health.check(&device.home), (Ok(()), None));
        fs::rename(&path, &away).unwrap();
        let (found, told) = health.check(&device.home);
        let why = found.unwrap_err();
        assert!(why.starts_with(&format!("can't read {}: ", path.display())), "{why}");
        assert_eq!(told, Some(Change::NotReady(why.clone())));
        assert_eq!(health.check(&device.home), (Err(why), None));
        fs::rename(&away, &path).unwrap();
        assert_eq!(health.check(&device.home), (Ok(()), Some(Change::Ready)));
        assert_eq!(health.check(&device.home), (Ok(()), None));
    }

    /// A change that makes no generation was none of a Stronghold's: all of the file is read then,
    /// behind the header too.
    #[test]
    fn damage_behind_the_header_is_found_where_the_file_has_changed() {
        let (device, health) = (Device::new("device"), Health::default());
        device.put("a/v/r", &"x".repeat(10_000));
        let whole = device.bytes();
        assert_eq!(health.check(&device.home), (Ok(()), None));
        let mut damaged = whole.clone();
        damaged[whole.len() - 100] ^= 1;
        fs::write(device.path(), [&damaged[..], b"x"].concat()).unwrap();
        let (found, told) = health.check(&device.home);
        assert_eq!(told, Some(Change::NotReady(found.unwrap_err())));
        fs::write(device.path(), &whole).unwrap();
        assert_eq!(health.check(&device.home), (Ok(()), Some(Change::Ready)));
        // Another generation is read as such.
        device.put("a/v/r", "another");
        assert_eq!(health.check(&device.home), (Ok(()), None));
    }

    /// That it can be read does not make it ready where the last change could not be written.
    #[test]
    fn a_snapshot_that_can_not_be_written_is_not_ready_before_it_can() {
        let (device, health) = (Device::new("device"), Health::default());
        health.note("full".into());
        device.home.lock().set_lock_wait(std::time::Duration::ZERO);
        let change = || device.home.update(|_| Ok::<_, VaultFileError>(()));
        let other = device.opened_again();
        let held = other.lock().update(|_| {
            assert!(change().is_err(), "in use");
            Ok(())
        });
        held.unwrap();
        assert_eq!(health.check(&device.home), (Ok(()), None));
        change().unwrap();
        assert_eq!(health.check(&device.home), (Ok(()), Some(Change::Ready)));
    }

    #[test]
    fn a_reason_has_each_cause_once() {
        let storage = || StorageError {
            action: Action::Write,
            path: "/x".into(),
            source: io::Error::other("the disk is on fire"),
        };
        // The text of a file action has its cause in it.
        let plain = reason(&VaultFileError::Lock(LockError::Storage(storage())));
        assert_eq!(plain, "can't write /x: the disk is on fire");
        let source = io::Error::other(Outer(io::Error::other(Outer(io::Error::other("inner")))));
        let told = reason(&VaultFileError::Lock(LockError::Storage(StorageError { source, ..storage() })));
        assert_eq!(told, "can't write /x: outer: inner");
    }
}
