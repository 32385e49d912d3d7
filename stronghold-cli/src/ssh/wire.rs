//! The messages between an SSH client and its agent (draft-ietf-sshm-ssh-agent): a length of four
//! bytes, a type of one, and strings, each with its length in four bytes. Of the client's, an agent
//! that keeps its keys elsewhere needs two: list the keys, and sign.

use std::io::{self, Read};

/// Maximum length of a message, in bytes: that of OpenSSH.
const MAX_MESSAGE: u32 = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// A client's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// List the keys.
    Identities,
    /// Sign `data` with the private half of `public`.
    Sign { public: &'a [u8], data: &'a [u8] },
    /// Anything else: adding and removing keys, extensions, locking.
    Other,
}

impl<'a> Request<'a> {
    /// Parses a message without its length. Returns `None` if it is malformed.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let (kind, mut rest) = message.split_first()?;
        Some(match *kind {
            REQUEST_IDENTITIES if rest.is_empty() => Self::Identities,
            SIGN_REQUEST => {
                let (public, data) = (string(&mut rest)?, string(&mut rest)?);
                // Flags are about keys of RSA only.
                (rest.len() == 4).then_some(Self::Sign { public, data })?
            }
            REQUEST_IDENTITIES => return None,
            _ => Self::Other,
        })
    }
}

/// Splits off a string.
pub(super) fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *rest = after;
    Some(string)
}

/// The agent's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Public keys with their comments.
    Identities(Vec<(Vec<u8>, String)>),
    Signature(Vec<u8>),
    Failure,
}

impl Reply {
    /// Returns the message with its length.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut message = vec![0; 4];
        match self {
            Self::Identities(keys) => {
                message.push(IDENTITIES_ANSWER);
                message.extend(length(keys.len()));
                for (public, comment) in keys {
                    push(&mut message, public);
                    push(&mut message, comment.as_bytes());
                }
            }
            Self::Signature(signature) => {
                message.push(SIGN_RESPONSE);
                push(&mut message, signature);
            }
            Self::Failure => message.push(FAILURE),
        }
        let len = length(message.len() - 4);
        message[..4].copy_from_slice(&len);
        message
    }
}

fn push(message: &mut Vec<u8>, string: &[u8]) {
    message.extend(length(string.len()));
    message.extend_from_slice(string);
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// Reads a message without its length. Returns `None` at the end of the stream.
///
/// # Errors
/// [`io::Error`] when the stream fails, ends within a message, or announces one that is too long.
pub(crate) fn read_message(mut stream: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    match stream.read(&mut len)? {
        0 => return Ok(None),
        read => stream.read_exact(&mut len[read..])?,
    }
    let len = u32::from_be_bytes(len);
    if len > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = Vec::new();
    stream.take(len.into()).read_to_end(&mut message)?;
    if message.len() as u64 == u64::from(len) {
        Ok(Some(message))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn sign(public: &[u8], data: &[u8], after: &[u8]) -> Vec<u8> {
        let mut message = vec![SIGN_REQUEST];
        push(&mut message, public);
        push(&mut message, data);
        [&message, after].concat()
    }

    #[test]
    fn requests_are_parsed_or_malformed() {
        assert_eq!(Request::parse(&[REQUEST_IDENTITIES]), Some(Request::Identities));
        let whole = sign(b"key", b"data", &[0; 4]);
        assert_eq!(Request::parse(&whole), Some(Request::Sign { public: b"key", data: b"data" }));
        for at in 0..whole.len() {
            assert_eq!(Request::parse(&whole[..at]), None, "cut at {at}");
        }
        assert_eq!(Request::parse(&sign(b"", b"", &[0; 5])), None);
        assert_eq!(Request::parse(&[REQUEST_IDENTITIES, 0]), None);
        assert_eq!(Request::parse(&[SIGN_REQUEST, 0xff, 0xff, 0xff, 0xff, 0]), None);
        for other in [17, 18, 19, 22, 23, 25, 27, 255] {
            assert_eq!(Request::parse(&[other, 1, 2]), Some(Request::Other));
        }
    }

    #[test]
    fn replies_have_their_length_in_front() {
        assert_eq!(Reply::Failure.to_bytes(), [0, 0, 0, 1, 5]);
        assert_eq!(Reply::Signature(b"ab".to_vec()).to_bytes(), [0, 0, 0, 7, 14, 0, 0, 0, 2, b'a', b'b']);
        let keys = Reply::Identities(vec![(b"k".to_vec(), "c".into())]);
        assert_eq!(keys.to_bytes(), [0, 0, 0, 15, 12, 0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 1, b'c']);
    }

    #[test]
    fn a_message_is_read_whole_or_not_at_all() {
        assert_eq!(read_message(&[][..]).unwrap(), None);
        assert_eq!(read_message(&[0, 0, 0, 2, 1, 2, 3][..]).unwrap(), Some(vec![1, 2]));
        for broken in [&[0][..], &[0, 0, 0, 2, 1], &[0xff; 8]] {
            assert!(read_message(broken).is_err(), "{broken:?}");
        }
        let largest = [&MAX_MESSAGE.to_be_bytes()[..], &vec![0; MAX_MESSAGE as usize]].concat();
        assert_eq!(read_message(&largest[..]).unwrap().unwrap().len(), MAX_MESSAGE as usize);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_bytes_are_a_request_or_none(bytes in vec(any::<u8>(), 0..40)) {
            let _ = Request::parse(&bytes);
            let _ = read_message(&bytes[..]);
        }
    }
}
