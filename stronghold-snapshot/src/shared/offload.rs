//! Keeps blocking work off the threads of an async runtime.

use std::{future, panic, time::Duration};

use stronghold_vault::Stronghold;
use tokio::{task::spawn_blocking, time::Instant};

use super::SharedVault;
use crate::{VaultFile, VaultFileError};

/// Time between two tries to lock the file.
const RETRY: Duration = Duration::from_millis(10);

/// Runs `work` on a thread that may block, and returns its result. If the returned future is
/// dropped, work that has begun goes on to its end.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // The runtime is shutting down and polls nothing any more.
            Err(_) => future::pending().await,
        },
    }
}

impl SharedVault {
    /// Runs `work` on the vault file, on a thread that may block. If the returned future is
    /// dropped, work that has begun goes on to its end.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut VaultFile) -> T + Send + 'static,
    ) -> T {
        let shared = self.clone();
        offload(move || work(&mut shared.lock())).await
    }

    /// Changes the Stronghold and commits it, as [`update`](Self::update) does, off the runtime's
    /// threads. Waits for other processes asynchronously, up to the file's
    /// [`lock_wait`](VaultFile::lock_wait): if the returned future is dropped meanwhile, nothing is
    /// changed; a change that has begun goes on to its end.
    ///
    /// # Errors
    /// As for [`update`](Self::update).
    pub async fn update_async<T, E>(
        &self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<VaultFileError> + Send + 'static,
    {
        let change = std::sync::Arc::new(std::sync::Mutex::new(Some(change)));
        let in_use = |error: &Failed<E>| matches!(error, Failed::Vault(error) if error.is_in_use());
        let shared = self.clone();
        let done = self.retry_while(in_use, move || {
            let mut change = change.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shared.try_update(None, |stronghold| match change.take() {
                Some(change) => change(stronghold).map_err(Failed::Change),
                None => Err(Failed::Vault(VaultFileError::Payload(crate::DecodeError))),
            })
        });
        done.await.map_err(|error| match error {
            Failed::Vault(error) => error.into(),
            Failed::Change(error) => error,
        })
    }

    /// Writes the queued log records as [`write_log`](Self::write_log) does, off the runtime's
    /// threads.
    ///
    /// # Errors
    /// As for [`write_log`](Self::write_log).
    pub async fn write_log_async(&self) -> Result<(), VaultFileError> {
        let shared = self.clone();
        let write = move || shared.0.write_log(Some(Duration::ZERO));
        self.retry_while(VaultFileError::is_in_use, write).await
    }

    /// Runs `work` on a thread that may block, again and again while its error says that another
    /// process holds the lock, up to the file's [`lock_wait`](VaultFile::lock_wait).
    ///
    /// # Errors
    /// The last error of `work`.
    pub async fn retry_while<T, E>(
        &self,
        in_use: impl Fn(&E) -> bool,
        work: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let work = std::sync::Arc::new(work);
        let begun = Instant::now();
        let mut wait = None;
        loop {
            let this = work.clone();
            match offload(move || this()).await {
                Err(error) if in_use(&error) => {
                    let limit = match wait {
                        Some(limit) => limit,
                        None => *wait.insert(self.call(|vault| vault.lock_wait()).await),
                    };
                    if begun.elapsed() >= limit {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY).await;
                }
                done => return done,
            }
        }
    }
}

/// An error of the file, or of the change itself.
enum Failed<E> {
    Vault(VaultFileError),
    Change(E),
}

impl<E> From<VaultFileError> for Failed<E> {
    fn from(error: VaultFileError) -> Self {
        Self::Vault(error)
    }
}
