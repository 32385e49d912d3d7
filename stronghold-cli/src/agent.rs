//! The agent: a process that holds the key of one snapshot for a while, so that commands need not
//! ask for the passphrase.
//!
//! It holds the key of the slot that was opened, in locked memory, and hands it to commands of the
//! same user over a Unix socket. Each command then opens the file itself, as with a key file: it
//! has the same results, the same locking, and sees the changes of other processes. A slot's key
//! opens nothing once its passphrase is replaced or removed.

pub(crate) mod client;
mod holder;
mod place;
mod protocol;
#[cfg(target_os = "linux")]
mod sleep;

pub(crate) use client::{Agent, AgentError};
pub(crate) use holder::{Companion, Holder, StartCompanion};
pub(crate) use place::{Place, all_places};
pub(crate) use protocol::{HoldTime, Left};

/// Completes when the computer is about to sleep, where the system tells. The sleep waits for what
/// is returned to be dropped.
pub(crate) async fn sleep_announced() -> impl Sized {
    #[cfg(target_os = "linux")]
    return sleep::announced().await;
    #[cfg(not(target_os = "linux"))]
    std::future::pending::<()>().await
}
