//! Names the relays to use, and whose certificates they may have.

use std::fmt;

use iroh::RelayUrl;
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// Maximum number of relays: each one costs a connection for each paired device.
const MOST: usize = 8;

/// The relays to use; none by default, so that nothing but a peer's addresses is contacted.
#[derive(Clone, Default)]
pub struct Relays {
    urls: Vec<RelayUrl>,
    roots: Vec<CertificateDer<'static>>,
}

/// A relay or a certificate that can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelaysError {
    /// It is no address of a relay.
    #[error("a relay is an address such as https://relay.example: {0}")]
    Url(String),
    /// There are more than the maximum.
    #[error("at most {MOST} relays can be used")]
    TooMany,
    /// The file has no certificate, or a damaged one.
    #[error("it holds no certificate in PEM")]
    Certificate,
}

impl Relays {
    /// Uses the relays at these addresses.
    ///
    /// # Errors
    /// [`RelaysError::Url`] for what is no `https` or `http` address of a host, and nothing more;
    /// [`RelaysError::TooMany`].
    pub fn new<S: AsRef<str>>(urls: &[S]) -> Result<Self, RelaysError> {
        let urls = urls.iter().map(|url| parse(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        match urls.len() > MOST {
            true => Err(RelaysError::TooMany),
            false => Ok(Self { urls, roots: Vec::new() }),
        }
    }

    /// Trusts relays whose certificates one of these has signed, beside the public authorities:
    /// PEM, as a file has it.
    ///
    /// # Errors
    /// [`RelaysError::Certificate`].
    pub fn with_roots(mut self, pem: &[u8]) -> Result<Self, RelaysError> {
        let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        self.roots = read.map_err(|_| RelaysError::Certificate)?;
        match self.roots.is_empty() {
            true => Err(RelaysError::Certificate),
            false => Ok(self),
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    pub(crate) fn urls(&self) -> &[RelayUrl] {
        &self.urls
    }

    pub(crate) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Returns the addresses as a list for people.
    pub(crate) fn list(&self) -> String {
        self.urls.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the address as people write it: without a slash at the end.
pub(crate) fn shown(url: &RelayUrl) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relays").field("urls", &self.urls).field("roots", &self.roots.len()).finish()
    }
}

fn parse(text: &str) -> Result<RelayUrl, RelaysError> {
    let wrong = || RelaysError::Url(text.to_owned());
    let url: RelayUrl = text.parse().map_err(|_| wrong())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.path() == "/";
    let is_web = matches!(url.scheme(), "https" | "http") && url.has_host();
    match is_web && is_plain && url.query().is_none() && url.fragment().is_none() {
        true => Ok(url),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_an_address_and_nothing_more() {
        let relays = Relays::new(&["https://relay.example", "http://192.0.2.1:3340/"]).unwrap();
        assert_eq!(relays.list(), "https://relay.example, http://192.0.2.1:3340");
        for text in [
            "",
            "relay.example",
            "ftp://relay.example",
            "https://",
            "https://a:b@relay.example",
            "https://relay.example/path",
            "https://relay.example/?q",
            "https://relay.example/#f",
            "unix:/socket",
        ] {
            assert_eq!(Relays::new(&[text]).err(), Some(RelaysError::Url(text.into())), "{text}");
        }
        assert!(Relays::new(&["https://relay.example"; MOST]).is_ok());
        assert_eq!(Relays::new(&["https://relay.example"; MOST + 1]).err(), Some(RelaysError::TooMany));
        assert!(Relays::new::<&str>(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        for pem in [&b""[..], b"certificate", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"]
        {
            let made = Relays::default().with_roots(pem);
            assert_eq!(made.err(), Some(RelaysError::Certificate));
        }
    }
}
