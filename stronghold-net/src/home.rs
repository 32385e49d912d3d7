//! A Stronghold and its file, as the sessions of a process share it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use stronghold_snapshot::Home;
use stronghold_vault::Identity;

use crate::ChannelError;

/// A Stronghold and its file, shared by the sessions of this process.
#[derive(Clone, Debug)]
pub struct SharedHome(Arc<Mutex<Home>>);

impl SharedHome {
    /// Shares a home.
    #[must_use]
    pub fn new(home: Home) -> Self {
        Self(Arc::new(Mutex::new(home)))
    }

    /// The home, for as long as the guard lives: not across an await.
    pub fn lock(&self) -> MutexGuard<'_, Home> {
        // A panic elsewhere leaves the home as it was before: `Home::update` sees to that.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time, in milliseconds since 1970: for people and for expiry, never for order.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A copy of this device's identity, to open a channel with while the home is free for others.
///
/// # Errors
/// [`ChannelError::Identity`] if the key can't be copied; no key is known to fail.
pub fn own_identity(home: &SharedHome) -> Result<Identity, ChannelError> {
    let bytes = home.lock().stronghold().identity().to_bytes();
    Ok(Identity::from_bytes(&bytes)?)
}
