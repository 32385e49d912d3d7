//! The clock, for display and for expiry, never for order.

use std::time::{SystemTime, UNIX_EPOCH};
use stronghold_sync::Timestamp;

/// Returns the current time, in milliseconds since 1970: for display and for expiry, never for
/// order.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
