//! Holds an invitation to pair, which one screen shows and the other reads: a pairing code and
//! hints where to connect.
//!
//! The link has the form `stronghold:CODE/ADDRESS/ADDRESS`, with addresses as `192.0.2.7:4747` or
//! `[2001:db8::7]:4747`. Letters of either case are equal, so that a QR code can use capitals only,
//! which take less room in it.

use std::{net::SocketAddr, str::FromStr};

use zeroize::Zeroizing;

use crate::{PairingCode, ParseCodeError};

/// Maximum number of addresses in a link.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// A pairing code, and the addresses of the device that shows it. `Debug` hides the code.
#[derive(Debug)]
pub struct Invitation {
    /// The code.
    pub code: PairingCode,
    /// Addresses to try, in this order, at most 8. If empty, the LAN is searched.
    pub addresses: Vec<SocketAddr>,
}

/// An error for text that is neither a pairing code nor a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseInvitationError {
    /// A bad code.
    #[error(transparent)]
    Code(#[from] ParseCodeError),
    /// A bad address, or too many of them.
    #[error("an address in the link can't be read")]
    Address,
}

impl Invitation {
    /// Returns the invitation as a link, which is as secret as its code.
    pub fn link(&self) -> Zeroizing<String> {
        let mut link = Zeroizing::new(format!("{SCHEME}{}", self.code.reveal().as_str()));
        for address in self.addresses.iter().take(MAX_ADDRESSES) {
            link.push_str(&format!("/{address}"));
        }
        link
    }
}

impl FromStr for Invitation {
    type Err = ParseInvitationError;

    /// Parses a link, or a code alone.
    fn from_str(text: &str) -> Result<Self, ParseInvitationError> {
        let text = text.trim();
        let Some(link) = text.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME)) else {
            return Ok(Self { code: text.parse()?, addresses: Vec::new() });
        };
        let mut parts = text[link.len()..].split('/');
        let code = parts.next().unwrap_or_default().parse()?;
        let addresses = parts.map(str::parse).collect::<Result<Vec<_>, _>>();
        match addresses {
            Ok(addresses) if addresses.len() <= MAX_ADDRESSES => Ok(Self { code, addresses }),
            _ => Err(ParseInvitationError::Address),
        }
    }
}

const SCHEME: &str = "stronghold:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_comes_back_in_either_case_and_a_code_alone_is_one_too() {
        let addresses = ["192.0.2.7:4747", "[2001:db8::7]:4747"].map(|text| text.parse().unwrap()).to_vec();
        let shown = Invitation { code: PairingCode::generate().unwrap(), addresses };
        let link = shown.link();
        assert!(link.starts_with("stronghold:") && link.ends_with("/192.0.2.7:4747/[2001:db8::7]:4747"));
        for text in [link.to_string(), link.to_uppercase(), format!("  {}\n", link.to_lowercase())] {
            let read: Invitation = text.parse().unwrap();
            assert_eq!(read.code.reveal(), shown.code.reveal());
            assert_eq!(read.addresses, shown.addresses);
        }
        let alone: Invitation = shown.code.reveal().parse().unwrap();
        assert!(alone.addresses.is_empty() && alone.code.reveal() == shown.code.reveal());
    }

    #[test]
    fn what_is_no_link_is_told_apart() {
        let code = PairingCode::generate().unwrap().reveal();
        let read = |text: &str| text.parse::<Invitation>().unwrap_err();
        assert_eq!(read("stronghold:"), ParseInvitationError::Code(ParseCodeError::Length));
        assert_eq!(read("stronghold:hello"), ParseInvitationError::Code(ParseCodeError::Length));
        assert_eq!(read("https://example.org"), ParseInvitationError::Code(ParseCodeError::Character));
        assert_eq!(read(&format!("stronghold:{}/nowhere", code.as_str())), ParseInvitationError::Address);
        let most = "/192.0.2.7:1".repeat(MAX_ADDRESSES);
        let read_most: Invitation = format!("stronghold:{}{most}", code.as_str()).parse().unwrap();
        assert_eq!(read_most.addresses.len(), MAX_ADDRESSES);
        // Of more addresses those that a link may have are shown.
        let shown = Invitation { addresses: vec![read_most.addresses[0]; MAX_ADDRESSES + 1], ..read_most };
        assert_eq!(*shown.link(), format!("stronghold:{}{most}", code.as_str()));
        let many = "/192.0.2.7:1".repeat(MAX_ADDRESSES + 1);
        assert_eq!(read(&format!("stronghold:{}{many}", code.as_str())), ParseInvitationError::Address);
        assert_eq!(read("strongh\u{f6}ld:"), ParseInvitationError::Code(ParseCodeError::Character));
    }
}
