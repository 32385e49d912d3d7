//! The protocol between a command and the agent: one request and one reply on a connection, each of
//! a fixed length.
//!
//! A request is the magic, the version, a code, the snapshot's name, two times and a key; a reply
//! is the magic, the version, a status, two times and a key. Fields that a message does not need
//! are zeros. Numbers are big-endian; times are in seconds, with the highest number for no limit. A
//! request to lock is understood in every version.

use std::time::Duration;

use stronghold_vault::LockedKey;
use zeroize::Zeroizing;

const MAGIC: [u8; 7] = *b"SHAGENT";
/// Version of the protocol.
pub(super) const VERSION: u8 = 1;
/// Length of a request, in bytes.
pub(super) const REQUEST_LEN: usize = 9 + 32 + TIMES_LEN + KEY_LEN;
/// Length of a reply, in bytes.
pub(super) const REPLY_LEN: usize = 9 + TIMES_LEN + KEY_LEN;
const TIMES_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// A request to the agent, about the snapshot of this name.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) snapshot: [u8; 32],
    pub(super) asked: Asked,
}

/// The subject of a request.
#[derive(Debug)]
pub(super) enum Asked {
    /// The key.
    Key,
    /// The time that the key is held yet.
    Status,
    /// To wipe the key and to end.
    Lock,
    /// To hold this key.
    Hold(LockedKey, HoldTime),
}

/// The times for which a key is held; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HoldTime {
    /// Time without use after which the key is wiped.
    pub(crate) idle: Option<Duration>,
    /// Time after which the key is wiped in any case.
    pub(crate) total: Option<Duration>,
}

/// The time that is left until a key is wiped; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// If it is not used.
    pub(crate) idle: Option<Duration>,
    /// In any case.
    pub(crate) total: Option<Duration>,
}

/// A reply of the agent.
#[derive(Debug)]
pub(super) enum Reply {
    /// The key.
    Key(LockedKey, Left),
    /// The agent holds a key.
    Held(Left),
    /// The agent holds no key.
    Locked,
    /// The agent speaks another version.
    OtherVersion,
    /// The agent holds the key of another snapshot.
    OtherSnapshot,
    /// The request makes no sense.
    Malformed,
}

/// The reason why a message was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The other side speaks this version.
    Version(u8),
    /// The message is none of this protocol.
    Malformed,
}

impl Request {
    /// Encodes the request, on the heap: an array that is moved leaves its bytes on the stack.
    pub(super) fn to_bytes(&self) -> Box<Zeroizing<[u8; REQUEST_LEN]>> {
        let mut out = Box::new(Zeroizing::new([0; REQUEST_LEN]));
        out[..7].copy_from_slice(&MAGIC);
        out[7] = VERSION;
        out[8] = match self.asked {
            Asked::Key => 1,
            Asked::Status => 2,
            Asked::Lock => 3,
            Asked::Hold(..) => 4,
        };
        out[9..41].copy_from_slice(&self.snapshot);
        if let Asked::Hold(key, time) = &self.asked {
            out[41..57].copy_from_slice(&times(time.idle, time.total));
            out[57..].copy_from_slice(key.expose());
        }
        out
    }

    /// Decodes a request. One to lock is understood in every version.
    pub(super) fn from_bytes(bytes: &[u8; REQUEST_LEN]) -> Result<Self, Unread> {
        let (version, code) = head(bytes)?;
        if version != VERSION && code != 3 {
            return Err(Unread::Version(version));
        }
        let mut snapshot = [0; 32];
        snapshot.copy_from_slice(&bytes[9..41]);
        let asked = match code {
            1 => Asked::Key,
            2 => Asked::Status,
            3 => Asked::Lock,
            4 => {
                let (idle, total) = read_times(&bytes[41..57]);
                Asked::Hold(read_key(&bytes[57..]), HoldTime { idle, total })
            }
            _ => return Err(Unread::Malformed),
        };
        Ok(Self { snapshot, asked })
    }
}

impl Reply {
    /// Encodes the reply, on the heap for the same reason.
    pub(super) fn to_bytes(&self) -> Box<Zeroizing<[u8; REPLY_LEN]>> {
        let mut out = Box::new(Zeroizing::new([0; REPLY_LEN]));
        out[..7].copy_from_slice(&MAGIC);
        out[7] = VERSION;
        out[8] = match self {
            Self::Key(..) => 1,
            Self::Held(_) => 2,
            Self::Locked => 3,
            Self::OtherVersion => 4,
            Self::OtherSnapshot => 5,
            Self::Malformed => 6,
        };
        if let Self::Key(_, left) | Self::Held(left) = self {
            out[9..25].copy_from_slice(&times(left.idle, left.total));
        }
        if let Self::Key(key, _) = self {
            out[25..].copy_from_slice(key.expose());
        }
        out
    }

    /// Decodes a reply.
    pub(super) fn from_bytes(bytes: &[u8; REPLY_LEN]) -> Result<Self, Unread> {
        let (version, status) = head(bytes)?;
        if version != VERSION {
            return Err(Unread::Version(version));
        }
        let (idle, total) = read_times(&bytes[9..25]);
        let left = Left { idle, total };
        match status {
            1 => Ok(Self::Key(read_key(&bytes[25..]), left)),
            2 => Ok(Self::Held(left)),
            3 => Ok(Self::Locked),
            4 => Ok(Self::OtherVersion),
            5 => Ok(Self::OtherSnapshot),
            6 => Ok(Self::Malformed),
            _ => Err(Unread::Malformed),
        }
    }
}

/// Returns the version and the code of a message.
fn head(bytes: &[u8]) -> Result<(u8, u8), Unread> {
    if bytes[..7] != MAGIC {
        return Err(Unread::Malformed);
    }
    Ok((bytes[7], bytes[8]))
}

fn times(one: Option<Duration>, other: Option<Duration>) -> [u8; TIMES_LEN] {
    let seconds = |time: Option<Duration>| time.map_or(u64::MAX, |time| time.as_secs()).to_be_bytes();
    let mut out = [0; TIMES_LEN];
    out[..8].copy_from_slice(&seconds(one));
    out[8..].copy_from_slice(&seconds(other));
    out
}

/// Reads two times from [`TIMES_LEN`] bytes.
fn read_times(bytes: &[u8]) -> (Option<Duration>, Option<Duration>) {
    let time = |bytes: &[u8]| {
        let seconds = bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        (seconds != u64::MAX).then(|| Duration::from_secs(seconds))
    };
    (time(&bytes[..8]), time(&bytes[8..]))
}

/// Reads a key from [`KEY_LEN`] bytes.
fn read_key(bytes: &[u8]) -> LockedKey {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.copy_from_slice(bytes);
    LockedKey::new(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: [u8; 32] = [7; 32];

    fn limits() -> HoldTime {
        HoldTime { idle: Some(Duration::from_secs(900)), total: None }
    }

    fn left() -> Left {
        Left { idle: None, total: Some(Duration::from_secs(3)) }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for asked in [Asked::Key, Asked::Status, Asked::Lock, Asked::Hold(LockedKey::new(&[9; 32]), limits())]
        {
            let request = Request { snapshot: SNAPSHOT, asked };
            let read = Request::from_bytes(&request.to_bytes()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{request:?}"));
            if let Asked::Hold(key, _) = &read.asked {
                assert_eq!(key.expose(), &[9; 32]);
            }
        }
    }

    #[test]
    fn a_reply_is_read_as_it_was_written() {
        let key = Reply::Key(LockedKey::new(&[9; 32]), left());
        for reply in [
            key,
            Reply::Held(left()),
            Reply::Locked,
            Reply::OtherVersion,
            Reply::OtherSnapshot,
            Reply::Malformed,
        ] {
            let read = Reply::from_bytes(&reply.to_bytes()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{reply:?}"));
            if let Reply::Key(key, _) = &read {
                assert_eq!(key.expose(), &[9; 32]);
            }
        }
    }

    /// The layout is fixed: a later version can still tell this one to lock.
    #[test]
    fn messages_have_these_bytes() {
        let hold = Request { snapshot: SNAPSHOT, asked: Asked::Hold(LockedKey::new(&[9; 32]), limits()) };
        let mut expected = b"SHAGENT\x01\x04".to_vec();
        expected.extend([7; 32]);
        expected.extend([0, 0, 0, 0, 0, 0, 3, 0x84]);
        expected.extend([0xff; 8]);
        expected.extend([9; 32]);
        assert_eq!(hold.to_bytes()[..], expected);
        let mut expected = b"SHAGENT\x01\x02".to_vec();
        expected.extend([0xff; 8]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend([0; 32]);
        assert_eq!(Reply::Held(left()).to_bytes()[..], expected);
    }

    #[test]
    fn another_version_may_only_lock() {
        for (asked, code) in [(Asked::Key, 1), (Asked::Status, 2), (Asked::Lock, 3)] {
            let mut bytes = Request { snapshot: SNAPSHOT, asked }.to_bytes();
            assert_eq!(bytes[8], code);
            for version in [0, 2, 255] {
                bytes[7] = version;
                match Request::from_bytes(&bytes) {
                    Ok(request) => assert!(matches!(request.asked, Asked::Lock)),
                    Err(error) => assert_eq!((error, code != 3), (Unread::Version(version), true)),
                }
            }
        }
        let mut bytes = Reply::Locked.to_bytes();
        bytes[7] = 2;
        assert_eq!(Reply::from_bytes(&bytes).unwrap_err(), Unread::Version(2));
    }

    #[test]
    fn anything_else_is_malformed() {
        for code in [0, 5, 255] {
            let mut bytes = Request { snapshot: SNAPSHOT, asked: Asked::Key }.to_bytes();
            bytes[8] = code;
            assert_eq!(Request::from_bytes(&bytes).unwrap_err(), Unread::Malformed);
        }
        for status in [0, 7, 255] {
            let mut bytes = Reply::Locked.to_bytes();
            bytes[8] = status;
            assert_eq!(Reply::from_bytes(&bytes).unwrap_err(), Unread::Malformed);
        }
        for at in 0..7 {
            let mut bytes = Reply::Locked.to_bytes();
            bytes[at] ^= 1;
            assert_eq!(Reply::from_bytes(&bytes).unwrap_err(), Unread::Malformed);
        }
    }
}
