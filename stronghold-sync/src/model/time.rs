//! Times.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A time in milliseconds since 1970, UTC: for display and for the expiry of rules, never for
/// order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest time that can be stored.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a time from milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time that has passed since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the time that is so much later, or [`MAX`](Self::MAX) if none is.
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// Returns the time that is so much earlier, or the beginning of 1970 if none is.
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) const fn ms(millis: u64) -> Timestamp {
    Timestamp(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_move_by_spans_and_stop_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(ms(1_500).since(ms(500)), second);
        assert_eq!(ms(500).since(ms(1_500)), Duration::ZERO);
        assert_eq!((ms(500).saturating_add(second), ms(1_500).saturating_sub(second)), (ms(1_500), ms(500)));
        assert_eq!(
            (Timestamp::MAX.saturating_add(second), ms(500).saturating_sub(second)),
            (Timestamp::MAX, ms(0))
        );
        assert_eq!(ms(1).saturating_add(Duration::MAX), Timestamp::MAX);
    }
}
