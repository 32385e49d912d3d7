//! Runs a relay with address discovery over QUIC: `test-relay IP CERTIFICATE`.
//!
//! Listens at the IP address, with a certificate that it makes for it and writes to the file, in
//! PEM. Prints the relay's address, and runs until its standard input ends.

use std::{error::Error, io::Read, net::IpAddr, sync::Arc};

use iroh_relay::{
    defaults::DEFAULT_RELAY_QUIC_PORT,
    server::{CertConfig, QuicConfig, RelayConfig, Server, ServerConfig, TlsConfig},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [ip, certificate] = args.as_slice() else { return Err("usage: test-relay IP CERTIFICATE".into()) };
    let ip: IpAddr = ip.parse()?;
    let made = rcgen::generate_simple_self_signed(vec![ip.to_string()])?;
    std::fs::write(certificate, made.cert.pem())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server_config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let mut relay = RelayConfig::new((ip, 0));
    relay.tls = Some(TlsConfig::new((ip, 0), CertConfig::Manual { server_config }));
    let mut config = ServerConfig::default();
    config.relay = Some(relay);
    // Clients expect the discovery of addresses at this port; where it is taken, there is none.
    let is_free = std::net::UdpSocket::bind((ip, DEFAULT_RELAY_QUIC_PORT)).is_ok();
    config.quic = is_free.then(|| QuicConfig::new((ip, DEFAULT_RELAY_QUIC_PORT)));
    let server = Server::spawn(config).await?;
    println!("https://{}", server.https_addr().ok_or("no address")?);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(server.shutdown().await?)
}
