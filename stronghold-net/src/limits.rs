//! What a server gives those who connect to it, at most.

use std::time::Duration;

/// What a [`Server`](crate::Server) gives to those who connect, at most: to each, and to all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have not passed the gate. One more, and the oldest ends. Each takes about 1 KiB of memory. Default
    /// 256.
    pub unauthenticated: usize,
    /// Handshakes with those who have. One more, and the oldest ends. Each takes at most 64 KiB of memory. Default 64.
    pub handshakes: usize,
    /// For the gate, and again for the handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Sessions. Who comes when there are so many is told that the server is busy. Default 32.
    pub sessions: usize,
    /// Sessions of one device. Default 4.
    pub sessions_per_peer: usize,
    /// For each message, and each 64 KiB that the peer takes. Default 30 s.
    pub idle_timeout: Duration,
    /// For a whole session. Default an hour.
    pub session_timeout: Duration,
    /// For the person who is asked where a rule says so; then it is a no. Not over 60 s, which is the default: who asks waits
    /// for 90 s.
    pub approval_timeout: Duration,
    /// Bytes of sealed batches that all sessions together hold in memory, on their way in and out, as they arrive; a session that
    /// needs more waits. One device has a quarter at most. At least 32 MiB. Default 96 MiB.
    pub batch_bytes: usize,
    /// How long a MiB of a batch may take, and what is begun of the next. Who is slower is told to stop. Default 30 s.
    pub pace: Duration,
    /// Bytes of what peers tell of their entries that all sessions together keep until it is planned; who tells more is told that
    /// this side is busy. One device has a quarter at most. Default 64 MiB.
    pub shape_bytes: usize,
    /// Entries that one session may tell of, offer, want or give: what it is told is kept in memory until it is planned.
    /// Default a million.
    pub entries_per_session: usize,
    /// For sessions that run when the server is stopped. Default 10 s.
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
