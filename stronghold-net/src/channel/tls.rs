//! Configures the TLS below a channel: version 1.3 only, raw public keys both ways, one key
//! exchange, one cipher suite.
//!
//! - Each side shows a bare public key, without a certificate (RFC 7250), and signs the handshake
//!   with it. Admission depends on that key's id alone, the SHA-256 of its `SubjectPublicKeyInfo`:
//!   not on names or dates. Devices show keys made for the connection here (see
//!   [`crate::channel::ephemeral`] and [`crate::pairing`]), and their own inside the channel.
//! - The key's id is checked after the signature, so that showing a stolen public key does not
//!   reveal which devices this side trusts.
//! - Key exchange SECP256R1MLKEM768 (draft-ietf-tls-ecdhe-mlkem), suite TLS_AES_256_GCM_SHA384,
//!   signatures ECDSA P-256 with SHA-256. Nothing else is offered or accepted; the ALPN is the
//!   version of all of these.
//! - No tickets, no resumption, no early data, no half-RTT data, no server name in the hello.
//!
//! The crypto provider is built here: the process-wide default of rustls is neither used nor set.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    PeerMisbehaved, ServerConfig, SignatureAlgorithm, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms,
        aws_lc_rs::{cipher_suite::TLS13_AES_256_GCM_SHA384, default_provider, kx_group::SECP256R1MLKEM768},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, Signer, SigningKey},
    version::TLS13,
};
use stronghold_sync::DeviceId;
use stronghold_vault::{Identity, PublicIdentity};

use crate::ChannelError;

/// The application protocol (RFC 7301) that both sides must offer.
pub const ALPN: &[u8] = b"stronghold-sync/1";

/// The devices that the connecting side accepts as its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// This device only.
    Device(DeviceId),
    /// Any device: for pairing only, where the code decides.
    Anyone,
}

/// The devices that the accepting side admits.
#[derive(Clone)]
#[non_exhaustive]
pub enum Trust {
    /// The devices for which this returns `true`. Called in each handshake, so the answer may
    /// change at run time.
    Known(Arc<dyn Fn(&DeviceId) -> bool + Send + Sync>),
    /// Any device: for pairing only, where the code decides.
    Anyone,
}

impl Trust {
    /// Trusts the devices for which `known` returns `true`.
    pub fn known(known: impl Fn(&DeviceId) -> bool + Send + Sync + 'static) -> Self {
        Self::Known(Arc::new(known))
    }

    fn holds(&self, device: &DeviceId) -> bool {
        match self {
            Self::Known(known) => known(device),
            Self::Anyone => true,
        }
    }
}

impl From<Expect> for Trust {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Device(expected) => Self::known(move |device| *device == expected),
            Expect::Anyone => Self::Anyone,
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(_) => "Known(..)",
            Self::Anyone => "Anyone",
        })
    }
}

/// A verifier of the peer's key, which remembers the device that it refused. One per handshake.
#[derive(Debug)]
pub(crate) struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
    refused: OnceLock<DeviceId>,
}

impl Verifier {
    pub(crate) fn new(trust: Trust) -> Arc<Self> {
        let algorithms = default_provider().signature_verification_algorithms;
        Arc::new(Self { trust, algorithms, refused: OnceLock::new() })
    }

    /// Returns the device that proved its key and was refused.
    pub(crate) fn refused(&self) -> Option<DeviceId> {
        self.refused.get().copied()
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ECDSA_NISTP256_SHA256 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        let valid = verify_tls13_signature_with_raw_key(message, &spki, signed, &self.algorithms)?;
        self.check_trust(DeviceId::of_spki(&spki))?;
        Ok(valid)
    }

    fn check_trust(&self, device: DeviceId) -> Result<(), Error> {
        if self.trust.holds(&device) {
            return Ok(());
        }
        let _ = self.refused.set(device);
        // The only certificate error that is sent as the alert `access_denied`.
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

/// Returns the identity of a peer's raw public key.
pub(crate) fn public_identity(key: &CertificateDer<'_>) -> Result<PublicIdentity, Error> {
    PublicIdentity::from_spki(key).map_err(|_| CertificateError::BadEncoding.into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        public_identity(end_entity).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        public_identity(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Returns the connecting side's settings.
pub(crate) fn client_config(
    identity: &Identity,
    verifier: Arc<Verifier>,
) -> Result<ClientConfig, ChannelError> {
    let provider = Arc::new(provider());
    let key = certified_key(identity);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| ChannelError::from_tls(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.enable_early_data = false;
    Ok(config)
}

/// Returns the accepting side's settings.
pub(crate) fn server_config(
    identity: &Identity,
    verifier: Arc<Verifier>,
) -> Result<ServerConfig, ChannelError> {
    let provider = Arc::new(provider());
    let key = certified_key(identity);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| ChannelError::from_tls(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    Ok(config)
}

/// Returns a placeholder for the server's name, which rustls demands. A device has no name, and
/// none is sent.
pub(crate) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into())
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![SECP256R1MLKEM768],
        ..default_provider()
    }
}

/// Returns the identity in the form that rustls needs. The key stays in locked memory: rustls
/// receives signatures only.
fn certified_key(identity: &Identity) -> Arc<CertifiedKey> {
    let public = CertificateDer::from(identity.public().spki().to_vec());
    Arc::new(CertifiedKey::new(vec![public], Arc::new(IdentitySigner(Arc::new(identity.duplicate())))))
}

/// A signer of handshakes with this device's key.
#[derive(Clone, Debug)]
struct IdentitySigner(Arc<Identity>);

impl SigningKey for IdentitySigner {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.0.public().spki()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for IdentitySigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign_der(message))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
