//! Holds the errors that end a channel, grouped by whose fault each was.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as Tls};
use stronghold_sync::DeviceId;
use stronghold_vault::SecretKeyError;

use crate::channel::metered::TooMany;

/// An error that kept a channel from opening or ended it.
///
/// Comparable and cloneable: a channel keeps its first error and returns it from every later call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// An orderly close, by either side, between two messages.
    #[error("the connection was closed")]
    Closed,
    /// An end of the stream without the orderly close, or in the middle of a message.
    #[error("the connection was cut")]
    Cut,
    /// A peer that was silent, or too slow, for this long.
    #[error("no answer within {} seconds", .0.as_secs_f32())]
    TimedOut(std::time::Duration),
    /// A peer that does not know this device. The connecting side sees it on its first `receive`,
    /// not in `connect`: in TLS 1.3 its handshake finishes before the peer has seen its key.
    #[error("the peer does not know this device")]
    NotTrusted,
    /// A peer that hung up before it sent a byte: it does not know this device (any more), or is
    /// not a Stronghold.
    #[error("the peer hung up without a word: it does not know this device, or is not Stronghold")]
    TurnedAway,
    /// An unknown device that connected; it was refused in the handshake.
    #[error("a device that is not known here tried to connect: {}", .0.fingerprint())]
    UnknownDevice(DeviceId),
    /// A device that answered in place of the expected one.
    #[error("another device answered: {}", .0.fingerprint())]
    WrongDevice(DeviceId),
    /// A peer without the pairing's secret: it is not the paired device.
    #[error("the peer is not the paired device")]
    Stranger,
    /// A peer with the pairing's secret that is not the paired device: the secret has leaked.
    #[error("the peer holds the pairing's secret, but is not the paired device")]
    WrongCard,
    /// A peer without TLS, or without a protocol that this version supports.
    #[error("the peer speaks another protocol or version ({0})")]
    Incompatible(String),
    /// A violation of the protocol by the peer.
    #[error("the peer broke the protocol: {0}")]
    Misbehaved(#[from] FrameError),
    /// A message of this side that can't be encoded, or whose encoding is longer than
    /// [`MAX_FRAME`](crate::MAX_FRAME).
    #[error("a message is too large or can't be encoded")]
    Unsendable,
    /// A refusal of this device's own key by the TLS library.
    #[error(transparent)]
    Identity(#[from] SecretKeyError),
    /// Another failure of TLS, as the library describes it.
    #[error("TLS failed ({0})")]
    Tls(String),
    /// A failure of the underlying stream.
    #[error("the network failed: {0}")]
    Io(io::ErrorKind),
}

/// A peer's violation of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// An announced frame of this many bytes, more than [`MAX_FRAME`](crate::MAX_FRAME).
    #[error("a frame of {0} bytes")]
    Oversized(u32),
    /// A message with the wrong role: this side's own message was reflected, or the peer mistook
    /// its role.
    #[error("a message with the wrong role")]
    WrongRole,
    /// A message that was left out, repeated or moved.
    #[error("message {found} where {expected} was due")]
    WrongCounter {
        /// The expected counter.
        expected: u64,
        /// The received counter.
        found: u64,
    },
    /// A message that does not decode as the expected type.
    #[error("a message that can't be read")]
    BadEncoding,
    /// Bytes after the end of a message.
    #[error("{0} bytes after the end of a message")]
    TrailingBytes(usize),
    /// A name that is empty or longer than 64 characters.
    #[error("a name that is empty or too long")]
    BadName,
    /// A card without a valid signature by its device.
    #[error("a device's card that it has not signed")]
    BadCard,
    /// A handshake longer than the limit.
    #[error("a handshake longer than 16 KiB")]
    LongHandshake,
    /// A violation below the messages, in TLS, as the library describes it.
    #[error("{0}")]
    Tls(String),
}

impl ChannelError {
    /// Converts an error of the TLS stream.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
            return Self::from_tls(tls);
        }
        if error.get_ref().is_some_and(|inner| inner.is::<TooMany>()) {
            return FrameError::LongHandshake.into();
        }
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Cut,
            other => Self::Io(other),
        }
    }

    pub(crate) fn from_tls(error: &Tls) -> Self {
        match error {
            Tls::AlertReceived(alert) => Self::from_alert(*alert, error),
            Tls::PeerIncompatible(_) | Tls::NoApplicationProtocol => Self::Incompatible(error.to_string()),
            Tls::InvalidMessage(_)
            | Tls::InappropriateMessage { .. }
            | Tls::InappropriateHandshakeMessage { .. }
            | Tls::DecryptError
            | Tls::PeerSentOversizedRecord
            | Tls::PeerMisbehaved(_)
            | Tls::NoCertificatesPresented
            | Tls::InvalidCertificate(CertificateError::BadEncoding | CertificateError::BadSignature) => {
                FrameError::Tls(error.to_string()).into()
            }
            _ => Self::Tls(error.to_string()),
        }
    }

    fn from_alert(alert: AlertDescription, error: &Tls) -> Self {
        match alert {
            AlertDescription::AccessDenied => Self::NotTrusted,
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::NoApplicationProtocol
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::MissingExtension => Self::Incompatible(error.to_string()),
            _ => Self::Tls(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{InvalidMessage, PeerIncompatible, PeerMisbehaved};

    use super::*;

    #[test]
    fn each_error_of_a_stream_is_somebodys_fault() {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof,
        };
        for kind in [UnexpectedEof, ConnectionReset, ConnectionAborted, BrokenPipe] {
            assert_eq!(ChannelError::from_io(&kind.into()), ChannelError::Cut);
        }
        for kind in [ConnectionRefused, TimedOut] {
            assert_eq!(ChannelError::from_io(&kind.into()), ChannelError::Io(kind));
        }
        let long = ChannelError::from_io(&io::Error::other(TooMany));
        assert_eq!(long, FrameError::LongHandshake.into());
        let alert = Tls::AlertReceived(AlertDescription::AccessDenied);
        assert_eq!(ChannelError::from_io(&io::Error::other(alert)), ChannelError::NotTrusted);
    }

    #[test]
    fn each_error_of_tls_is_somebodys_fault() {
        let misbehaved = |error: &Tls| FrameError::Tls(error.to_string()).into();
        let incompatible = |error: &Tls| ChannelError::Incompatible(error.to_string());
        let other = |error: &Tls| ChannelError::Tls(error.to_string());
        type Kind<'a> = &'a dyn Fn(&Tls) -> ChannelError;
        let table: [(Tls, Kind<'_>); 15] = [
            (Tls::NoApplicationProtocol, &incompatible),
            (PeerIncompatible::Tls12NotOffered.into(), &incompatible),
            (Tls::InvalidMessage(InvalidMessage::InvalidCcs), &misbehaved),
            (Tls::DecryptError, &misbehaved),
            (Tls::PeerSentOversizedRecord, &misbehaved),
            (PeerMisbehaved::TooMuchEarlyDataReceived.into(), &misbehaved),
            (Tls::NoCertificatesPresented, &misbehaved),
            (Tls::InvalidCertificate(CertificateError::BadSignature), &misbehaved),
            (Tls::InvalidCertificate(CertificateError::Expired), &other),
            (Tls::EncryptError, &other),
            (Tls::AlertReceived(AlertDescription::ProtocolVersion), &incompatible),
            (Tls::AlertReceived(AlertDescription::NoApplicationProtocol), &incompatible),
            (Tls::AlertReceived(AlertDescription::HandshakeFailure), &incompatible),
            (Tls::AlertReceived(AlertDescription::MissingExtension), &incompatible),
            (Tls::AlertReceived(AlertDescription::InternalError), &other),
        ];
        for (error, expected) in table {
            assert_eq!(ChannelError::from_tls(&error), expected(&error));
        }
    }
}
