//! What can end a channel, grouped by whose fault it was.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as Tls};
use stronghold_sync::DeviceId;
use stronghold_vault::SecretKeyError;

use crate::metered::TooMany;

/// Why a channel could not be opened or came to its end.
///
/// It is comparable and can be cloned: a channel keeps its first error and gives it again on every later call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The channel was closed in order, by either side, between two messages.
    #[error("the connection was closed")]
    Closed,
    /// The stream ended without the orderly close, or in the middle of a message.
    #[error("the connection was cut")]
    Cut,
    /// The other side was silent, or too slow, for this long.
    #[error("no answer within {} seconds", .0.as_secs_f32())]
    TimedOut(std::time::Duration),
    /// The peer does not know this device. The connecting side sees it on its first `receive`, not in `connect`: in
    /// TLS 1.3 it has finished its handshake before the other side has seen its key.
    #[error("the other side does not know this device")]
    NotTrusted,
    /// Who was asked hung up without a word: it does not know this device (any more), or is no Stronghold.
    #[error("the other side hung up without a word: it does not know this device, or is no Stronghold")]
    TurnedAway,
    /// The device that connected is not known here; it was refused in the handshake.
    #[error("a device that is not known here tried to connect: {}", .0.fingerprint())]
    UnknownDevice(DeviceId),
    /// The device that answered is not the one that was asked for.
    #[error("another device answered: {}", .0.fingerprint())]
    WrongDevice(DeviceId),
    /// Who is at the other end does not hold the secret of the pairing: it is not the paired device.
    #[error("who is at the other end is not the paired device")]
    Stranger,
    /// Who is at the other end holds the secret of the pairing and is another device: someone has that secret who should not.
    #[error("who is at the other end holds the pairing's secret, but is not the paired device")]
    WrongCard,
    /// The peer speaks no TLS, or no protocol, that this version speaks.
    #[error("the other side speaks another protocol or version ({0})")]
    Incompatible(String),
    /// The peer broke the protocol.
    #[error("the other side broke the protocol: {0}")]
    Misbehaved(#[from] FrameError),
    /// A message of this side can't be sent: it has no encoding, or one longer than [`MAX_FRAME`](crate::MAX_FRAME).
    #[error("a message is too large or can't be encoded")]
    Unsendable,
    /// This device's own key was refused by the TLS library.
    #[error(transparent)]
    Identity(#[from] SecretKeyError),
    /// Another failure of TLS, with the library's words for it.
    #[error("TLS failed ({0})")]
    Tls(String),
    /// The stream below failed.
    #[error("the network failed: {0}")]
    Io(io::ErrorKind),
}

/// How a peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It announced a frame of this many bytes, more than [`MAX_FRAME`](crate::MAX_FRAME).
    #[error("a frame of {0} bytes")]
    Oversized(u32),
    /// A message carries the other role: this side's own message came back, or the peer mistook its part.
    #[error("a message with the wrong role")]
    WrongRole,
    /// A message was left out, repeated or moved.
    #[error("message {found} where {expected} was due")]
    WrongCounter {
        /// The counter that was due.
        expected: u64,
        /// The counter that came.
        found: u64,
    },
    /// A message that can't be decoded as what was due.
    #[error("a message that can't be read")]
    BadEncoding,
    /// Bytes after the end of a message.
    #[error("{0} bytes after the end of a message")]
    TrailingBytes(usize),
    /// A name that is empty or longer than 64 characters.
    #[error("a name that is empty or too long")]
    BadName,
    /// A device's card that is not signed by it.
    #[error("a device's card that it has not signed")]
    BadCard,
    /// More bytes in a handshake than any has.
    #[error("a handshake without end")]
    LongHandshake,
    /// Below the messages, in TLS, with the library's words for it.
    #[error("{0}")]
    Tls(String),
}

impl ChannelError {
    /// Takes an error of the TLS stream apart.
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
