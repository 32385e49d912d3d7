//! What a server gives those who connect to it, at most.

use std::time::Duration;

/// What a [`Server`](crate::Server) gives to those who connect, at most: to each, and to all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have not passed the gate. One more, and the oldest ends. Each takes about 1 KiB of memory. Default
    /// 256.
    pub strangers: usize,
    /// Handshakes with those who have. One more, and the oldest ends. Each takes at most 64 KiB of memory. Default 64.
    pub handshakes: usize,
    /// For the gate, and again for the handshake. Default 10 s.
    pub handshake: Duration,
    /// Sessions. Who comes when there are so many is told that the server is busy. Default 32.
    pub sessions: usize,
    /// Sessions of one device. Default 4.
    pub sessions_per_peer: usize,
    /// For each message, and each 64 KiB that the peer takes. Default 30 s.
    pub idle: Duration,
    /// For a whole session. Default an hour.
    pub session: Duration,
    /// For the person who is asked where a rule says so; then it is a no. Not over 60 s, which is the default: who asks waits
    /// for 90 s.
    pub person: Duration,
    /// Bytes of sealed batches that all sessions together hold in memory, on their way in and out, as they arrive; a session that
    /// needs more waits. One device has a quarter at most. At least 32 MiB. Default 96 MiB.
    pub in_flight: usize,
    /// How long a MiB of a batch may take, and what is begun of the next. Who is slower is told to stop. Default 30 s.
    pub pace: Duration,
    /// Bytes of what peers tell of their entries that all sessions together keep until it is planned; who tells more is told that
    /// this side is busy. One device has a quarter at most. Default 64 MiB.
    pub staged_bytes: usize,
    /// Entries that one session may tell of, offer, want or give: what it is told is kept in memory until it is planned.
    /// Default a million.
    pub staged: usize,
    /// For sessions that run when the server is stopped. Default 10 s.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            strangers: 256,
            handshakes: 64,
            handshake: Duration::from_secs(10),
            sessions: 32,
            sessions_per_peer: 4,
            idle: Duration::from_secs(30),
            session: Duration::from_secs(3600),
            person: Duration::from_secs(60),
            in_flight: 96 << 20,
            pace: Duration::from_secs(30),
            staged_bytes: 64 << 20,
            staged: 1 << 20,
            grace: Duration::from_secs(10),
        }
    }
}
