//! Times.

/// A time in milliseconds since 1970, UTC: for display and for the expiry of rules, never for
/// order.
pub type Timestamp = u64;
