//! Encodes and decodes the frames that carry messages.
//!
//! A frame is a 4-byte big-endian length, then that many bytes: the array `[role, counter]` and the
//! message, each encoded by rmp-serde (MessagePack, structs as arrays). `role` is 0 for the side
//! that connected and 1 for the side that accepted; `counter` counts the frames of one direction
//! from 0. TLS already keeps order and direction: role and counter expose mistakes in the layers
//! between.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{ChannelError, FrameError};

/// Maximum length of a frame's content, in bytes: a sealed chunk of 64 KiB and 1 KiB around it.
pub const MAX_FRAME: usize = 64 * 1024 + 1024;

/// A side of the connection; its number goes into every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Connected = 0,
    Accepted = 1,
}

impl Role {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Connected => Self::Accepted,
            Self::Accepted => Self::Connected,
        }
    }
}

/// Appends a message's frame. After an error the content of `outbox` is unusable.
pub(crate) fn encode<M: Serialize + ?Sized>(
    outbox: &mut Vec<u8>,
    role: Role,
    counter: u64,
    message: &M,
) -> Result<(), ChannelError> {
    let start = outbox.len();
    outbox.extend_from_slice(&[0; LENGTH]);
    rmp_serde::encode::write(outbox, &(role as u8, counter))
        .and_then(|()| rmp_serde::encode::write(outbox, message))
        .map_err(|_| ChannelError::Unsendable)?;
    let length = outbox.len() - start - LENGTH;
    if length > MAX_FRAME {
        return Err(ChannelError::Unsendable);
    }
    outbox[start..start + LENGTH].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(())
}

/// Returns the number of bytes that the frame at the start of `inbox` still lacks, as far as is
/// known.
pub(crate) fn missing(inbox: &[u8]) -> Result<usize, FrameError> {
    let Some((length, body)) = inbox.split_first_chunk::<LENGTH>() else {
        return Ok(LENGTH - inbox.len());
    };
    let length = u32::from_be_bytes(*length);
    if length as usize > MAX_FRAME {
        return Err(FrameError::Oversized(length));
    }
    Ok((length as usize).saturating_sub(body.len()))
}

/// Decodes the message of a complete frame, which must carry this role and counter.
pub(crate) fn decode<M: DeserializeOwned>(frame: &[u8], role: Role, counter: u64) -> Result<M, FrameError> {
    let mut rest = frame.get(LENGTH..).unwrap_or_default();
    let mut decoder = rmp_serde::Deserializer::new(&mut rest);
    let (its_role, found) = <(u8, u64)>::deserialize(&mut decoder).map_err(|_| FrameError::BadEncoding)?;
    if its_role != role as u8 {
        return Err(FrameError::WrongRole);
    }
    if found != counter {
        return Err(FrameError::WrongCounter { expected: counter, found });
    }
    let message = M::deserialize(&mut decoder).map_err(|_| FrameError::BadEncoding)?;
    if !rest.is_empty() {
        return Err(FrameError::TrailingBytes(rest.len()));
    }
    Ok(message)
}

const LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;

    fn encoded(message: &ByteBuf) -> Result<Vec<u8>, ChannelError> {
        let mut outbox = vec![7];
        encode(&mut outbox, Role::Accepted, 300, message)?;
        assert_eq!(outbox.remove(0), 7, "what waits before it stays");
        Ok(outbox)
    }

    /// Role and counter take five bytes here, and the message five more than it has.
    #[test]
    fn a_frame_has_so_many_bytes_and_no_more() {
        let most = ByteBuf::from(vec![1; MAX_FRAME - 10]);
        let frame = encoded(&most).unwrap();
        assert_eq!(frame.len(), LENGTH + MAX_FRAME);
        assert_eq!(decode::<ByteBuf>(&frame, Role::Accepted, 300), Ok(most));
        let over = ByteBuf::from(vec![1; MAX_FRAME - 9]);
        assert_eq!(encoded(&over), Err(ChannelError::Unsendable));
    }

    #[test]
    fn what_a_frame_lacks_is_known_as_far_as_it_has_come() {
        let length = |length: usize| (length as u32).to_be_bytes();
        for (inbox, expected) in [
            (vec![], Ok(4)),
            (vec![0, 0, 1], Ok(1)),
            (length(9).to_vec(), Ok(9)),
            ([&length(3)[..], b"ab"].concat(), Ok(1)),
            ([&length(3)[..], b"abc"].concat(), Ok(0)),
            (length(MAX_FRAME).to_vec(), Ok(MAX_FRAME)),
            (length(MAX_FRAME + 1).to_vec(), Err(FrameError::Oversized(MAX_FRAME as u32 + 1))),
        ] {
            assert_eq!(missing(&inbox), expected, "{inbox:?}");
        }
    }

    #[test]
    fn a_message_is_of_its_role_and_turn() {
        let frame = encoded(&ByteBuf::from(b"x".to_vec())).unwrap();
        let read = |role, counter| decode::<ByteBuf>(&frame, role, counter);
        assert_eq!(read(Role::Accepted, 300), Ok(ByteBuf::from(b"x".to_vec())));
        assert_eq!(read(Role::Connected, 300), Err(FrameError::WrongRole));
        let wrong = FrameError::WrongCounter { expected: 299, found: 300 };
        assert_eq!(read(Role::Accepted, 299), Err(wrong));
        assert_eq!(decode::<ByteBuf>(b"", Role::Accepted, 0), Err(FrameError::BadEncoding));
        assert_eq!((Role::Accepted.other(), Role::Connected.other()), (Role::Connected, Role::Accepted));
    }
}
