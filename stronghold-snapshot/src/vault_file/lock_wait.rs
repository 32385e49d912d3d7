//! Waiting for other writers of the file.

use std::any::Any;
use std::time::Duration;

use super::{VaultFile, VaultFileError};
use crate::file::OnLockWait;

impl VaultFile {
    /// Removes the lock file of a file that is not to be written again: see
    /// [`SnapshotFile::remove_lock`](crate::SnapshotFile::remove_lock).
    ///
    /// # Errors
    /// [`VaultFileError::Lock`]; the lock file stays then.
    pub fn remove_lock(&mut self) -> Result<(), VaultFileError> {
        Ok(self.file.remove_lock(self.wait)?)
    }

    /// Sets how long to wait for other writers.
    pub fn set_lock_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// Returns how long a change waits for other writers.
    pub fn lock_wait(&self) -> Duration {
        self.wait
    }

    /// Sets a function that is called when a change has to wait for another writer: with its
    /// process id, if known, and the time that the change waits at most. What it returns is dropped
    /// when the wait is over.
    pub fn on_lock_wait(
        &mut self,
        begin: impl Fn(Option<u32>, Duration) -> Box<dyn Any> + Send + Sync + 'static,
    ) {
        self.file.on_lock_wait = Some(OnLockWait::new(begin));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use stronghold_vault::Stronghold;

    use crate::{NewSlot, Unlock};

    use super::*;

    #[test]
    fn a_wait_is_told_with_the_writer_and_its_end() {
        struct Ended(mpsc::Sender<(Option<u32>, Duration)>);

        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.send((None, Duration::ZERO)).unwrap();
            }
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        let stronghold = Stronghold::new("own").unwrap();
        let mut vault = VaultFile::create(&path, &[NewSlot::Key(&[7; 32])], stronghold).unwrap();
        let (send, told) = mpsc::channel();
        let wait = Duration::from_secs(60);
        vault.set_lock_wait(wait);
        vault.on_lock_wait(move |writer, left| {
            send.send((writer, left)).unwrap();
            Box::new(Ended(send.clone()))
        });
        vault.remove_lock().unwrap();
        assert!(told.try_recv().is_err(), "nobody was waited for");
        let mut other = VaultFile::open(&path, &Unlock::Key(&[7; 32])).unwrap();
        let guard = other.file.lock(wait).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| vault.remove_lock());
            assert_eq!(told.recv().unwrap(), (Some(std::process::id()), wait));
            assert!(told.try_recv().is_err(), "it lasts");
            drop(guard);
            waiting.join().unwrap().unwrap();
            assert_eq!(told.recv().unwrap(), (None, Duration::ZERO));
        });
        assert!(told.try_recv().is_err(), "it is told once");
    }
}
