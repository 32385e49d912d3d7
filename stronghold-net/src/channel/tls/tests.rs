//! Tests peers with another version, protocol, key exchange or kind of key.

use rustls::crypto::aws_lc_rs::kx_group::{MLKEM768, SECP256R1, X25519, X25519MLKEM768};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{Channel, FrameError};

fn device() -> Identity {
    Identity::generate().unwrap()
}

fn usual_client(identity: &Identity) -> ClientConfig {
    client_config(identity, Verifier::new(Trust::Anyone)).unwrap()
}

/// Returns the accepting side's result for a TLS client with these settings, and that client's
/// first read.
async fn accepting(client: ClientConfig) -> (Result<(), ChannelError>, std::io::Result<usize>) {
    let (near, far) = duplex(1 << 16);
    let asked = device();
    let client = async {
        let mut stream = TlsConnector::from(Arc::new(client)).connect(no_name(), near).await?;
        stream.read(&mut [0]).await
    };
    let server = async { Channel::accept(far, &asked, Trust::Anyone).await.map(|_| ()) };
    let (client, server) = tokio::join!(client, server);
    (server, client)
}

/// Returns the connecting side's result for a TLS server with these settings.
async fn connecting(server: ServerConfig) -> Result<(), ChannelError> {
    let (near, far) = duplex(1 << 16);
    let asker = device();
    let server = TlsAcceptor::from(Arc::new(server)).accept(far);
    let client = Channel::connect(near, &asker, Expect::Anyone);
    let (client, _server) = tokio::join!(client, server);
    client.map(|_| ())
}

fn is_incompatible(outcome: &Result<(), ChannelError>) -> bool {
    matches!(outcome, Err(ChannelError::Incompatible(_)))
}

#[tokio::test]
async fn another_alpn_or_none_is_refused_by_the_accepting_side() {
    for protocols in [vec![], vec![b"h2".to_vec()], vec![b"stronghold-sync/2".to_vec()]] {
        let mut client = usual_client(&device());
        client.alpn_protocols = protocols;
        let (server, client) = accepting(client).await;
        assert!(is_incompatible(&server), "{server:?}");
        assert!(client.is_err());
    }
}

#[tokio::test]
async fn another_alpn_or_none_is_refused_by_the_connecting_side() {
    for protocols in [vec![], vec![b"h2".to_vec()]] {
        let mut server = server_config(&device(), Verifier::new(Trust::Anyone)).unwrap();
        server.alpn_protocols = protocols;
        let client = connecting(server).await;
        assert!(is_incompatible(&client), "{client:?}");
    }
}

#[tokio::test]
async fn another_key_exchange_is_refused() {
    for group in [SECP256R1, X25519, X25519MLKEM768, MLKEM768] {
        let identity = device();
        let provider = Arc::new(CryptoProvider { kx_groups: vec![group], ..default_provider() });
        let key = certified_key(&identity);
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(Trust::Anyone))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
        client.alpn_protocols = vec![ALPN.to_vec()];
        let (server, _) = accepting(client).await;
        assert!(is_incompatible(&server), "{group:?}: {server:?}");
    }
}

#[tokio::test]
async fn a_client_without_a_key_is_refused() {
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Verifier::new(Trust::Anyone))
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let (server, _) = accepting(client).await;
    assert!(is_incompatible(&server), "{server:?}");
}

#[tokio::test]
async fn a_client_that_shows_a_key_it_does_not_hold_is_refused_before_it_is_judged() {
    let (mine, known) = (device(), device());
    let verifier = Verifier::new(Trust::Anyone);
    let mut client = client_config(&mine, verifier.clone()).unwrap();
    let signer = certified_key(&mine).key.clone();
    let stolen = vec![CertificateDer::from(known.public().spki().to_vec())];
    client.client_auth_cert_resolver =
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(CertifiedKey::new(stolen, signer))));
    let (server, _) = accepting(client).await;
    assert!(matches!(server, Err(ChannelError::Misbehaved(FrameError::Tls(_)))), "{server:?}");
}

/// A TLS 1.2 hello (RFC 5246 §7.4.1.2) has no `supported_versions`.
#[tokio::test]
async fn a_tls_1_2_client_is_refused() {
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[7; 32]); // random
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, extensions.len() as u8]);
    hello.extend_from_slice(&extensions);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend_from_slice(&hello);

    let (mut near, far) = duplex(1 << 16);
    let asked = device();
    near.write_all(&record).await.unwrap();
    let server = Channel::accept(far, &asked, Trust::Anyone);
    let client = async {
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (server, answer) = tokio::join!(server, client);
    assert!(is_incompatible(&server.map(|_| ())));
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]); // a fatal alert: protocol_version
}

#[tokio::test]
async fn a_tls_1_2_server_is_refused() {
    let mut hello = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
    hello.extend_from_slice(&[7; 32]); // random
    hello.extend_from_slice(&[0, 0xc0, 0x2b, 0]);
    let (near, mut far) = duplex(1 << 16);
    far.write_all(&hello).await.unwrap();
    let client = Channel::connect(near, &device(), Expect::Anyone).await.map(|_| ());
    assert!(is_incompatible(&client), "{client:?}");
}

/// One kind of signature, under the device's own key, and no other.
#[test]
fn a_device_signs_as_itself_and_in_one_way() {
    let identity = device();
    let key = IdentitySigner(Arc::new(identity.duplicate()));
    assert_eq!(key.public_key().unwrap().as_ref(), identity.public().spki());
    assert_eq!(
        (key.algorithm(), key.scheme()),
        (SignatureAlgorithm::ECDSA, SignatureScheme::ECDSA_NISTP256_SHA256)
    );
    let offered = [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP384_SHA384];
    assert!(key.choose_scheme(&offered).is_none() && key.choose_scheme(&[]).is_none());
    let with_its_own = [offered[0], SignatureScheme::ECDSA_NISTP256_SHA256];
    let signer = key.choose_scheme(&with_its_own).unwrap();
    assert_eq!(signer.scheme(), SignatureScheme::ECDSA_NISTP256_SHA256);
}
