//! The clock, for display and for expiry, never for order.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use stronghold_sync::Timestamp;

/// Time by which this process's clock is ahead of the system's, in milliseconds.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Returns the current time, in milliseconds since 1970: for display and for expiry, never for
/// order.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(now.saturating_add(AHEAD.load(Ordering::Relaxed)))
}

/// Sets this process's clock ahead, by so much more: for a simulation of years.
#[doc(hidden)]
pub fn advance_clock(by: Duration) {
    AHEAD.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
