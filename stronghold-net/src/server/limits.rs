//! Defines the limits of a server.

use std::time::Duration;

/// Limits of a [`Server`](crate::Server), for each peer and for all together.
///
/// ```
/// let mut limits = stronghold_net::Limits::default();
/// limits.sessions = 8;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum unauthenticated connections; beyond it the oldest is dropped. Each takes about 1 KiB
    /// of memory. Default 256.
    pub unauthenticated: usize,
    /// Maximum handshakes in progress; beyond it the oldest is dropped. Each takes at most 64 KiB
    /// of memory. Default 64.
    pub handshakes: usize,
    /// Time limit for the preauthentication, and again for the handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Maximum sessions. Beyond it a peer is refused as the server is busy. Default 32.
    pub sessions: usize,
    /// Maximum sessions of one device. Default 4.
    pub sessions_per_peer: usize,
    /// Time limit for each message, and for each 64 KiB that the peer accepts. Default 30 s.
    pub idle_timeout: Duration,
    /// Time limit for a whole session. Default 1 h.
    pub session_timeout: Duration,
    /// Time limit for a person's approval, where a rule demands one; after it the request is
    /// denied. Default 60 s, which is also the largest useful value: an initiator waits for 90 s.
    pub approval_timeout: Duration,
    /// Maximum bytes of sealed batches that all sessions together hold in memory, incoming and
    /// outgoing, counted as they arrive; a session that needs more waits. One device gets at most a
    /// quarter. At least 32 MiB. Default 96 MiB.
    pub batch_bytes: usize,
    /// Time limit for each MiB of a batch, complete or begun. A slower peer is told to stop.
    /// Default 30 s.
    pub pace: Duration,
    /// Maximum bytes of entry lists from peers that all sessions together keep, each until the
    /// session ends; beyond it a peer is refused as busy. One device gets at most a quarter.
    /// Default 64 MiB.
    pub shape_bytes: usize,
    /// Maximum number of entries that one session may list, offer, want or push: their shapes stay
    /// in memory until the plan is made. Default 1 Mi (2^20).
    pub entries_per_session: usize,
    /// Time that running sessions have to end when the server stops. Default 10 s.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unauthenticated: 256,
            handshakes: 64,
            handshake_timeout: Duration::from_secs(10),
            sessions: 32,
            sessions_per_peer: 4,
            idle_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(3600),
            approval_timeout: Duration::from_secs(60),
            batch_bytes: 96 << 20,
            pace: Duration::from_secs(30),
            shape_bytes: 64 << 20,
            entries_per_session: 1 << 20,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}
