//! Carries a channel across NATs: one QUIC stream of iroh, directly or through a relay.
//!
//! iroh only carries bytes. The knock, TLS with P-256 identities and the cards run inside, as over
//! TCP, and decide who the peer is. The keys of iroh are addresses, which both devices derive from
//! the secret of their pairing (see [`keys`]), so that devices paired before need nothing, and no
//! one can tell that two of a device's addresses belong together.
//!
//! Nothing is contacted but the addresses of the peer and the relays that the user names: no
//! directory of addresses, no name servers but those of the system, and no port mapping.

pub(crate) mod dial;
pub(crate) mod keys;
pub(crate) mod listen;
pub(crate) mod relays;
pub(crate) mod stream;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use iroh::{
    Endpoint, NetReportConfig, RelayConfig, RelayMap, RelayMode, SecretKey,
    dns::DnsResolver,
    endpoint::{BindOpts, Builder, PortmapperConfig, QuicTransportConfig, VarInt, presets::Empty},
    tls::CaTlsConfig,
};

use self::relays::Relays;

/// An endpoint that stays open while its connections are used, and closes once nobody holds it.
#[derive(Debug)]
struct Kept(Endpoint);

impl Drop for Kept {
    fn drop(&mut self) {
        let endpoint = self.0.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { endpoint.close().await });
        }
    }
}

/// Bytes that one connection may hold unread in memory, in each direction.
const WINDOW: u32 = 2 << 20;

/// Returns the settings of an endpoint with this key: its ALPN, the relays, and nothing else to
/// contact.
fn endpoint(key: SecretKey, alpn: &keys::Alpn, relays: &Relays) -> Builder {
    let roots = CaTlsConfig::embedded().with_extra_roots(relays.roots().iter().cloned());
    let map: RelayMap = relays.urls().iter().cloned().map(RelayConfig::from).collect();
    let mode = if relays.is_empty() { RelayMode::Disabled } else { RelayMode::Custom(map) };
    let mut report = NetReportConfig::default();
    report.captive_portal_check = false;
    Endpoint::builder(Empty)
        .secret_key(key)
        .alpns(vec![alpn.to_vec()])
        .crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .ca_tls_config(roots)
        .relay_mode(mode)
        .dns_resolver(DnsResolver::builder().with_system_defaults().disable_fallback().build())
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(report)
        .max_tls_tickets(0)
        .transport_config(transport())
}

/// Returns the settings of a connection: one stream, within bounded memory.
fn transport() -> QuicTransportConfig {
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .datagram_receive_buffer_size(None)
        .build()
}

/// Binds the endpoint at this address alone, or at every address of both families.
async fn bind(builder: Builder, at: SocketAddr) -> Result<Endpoint, String> {
    let mut builder = builder.clear_ip_transports().bind_addr(at).map_err(|error| error.to_string())?;
    if at.ip().is_unspecified() {
        let other: IpAddr =
            if at.is_ipv4() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let options = BindOpts::default().set_is_required(false);
        let other = SocketAddr::new(other, at.port());
        builder = builder.bind_addr_with_opts(other, options).map_err(|error| error.to_string())?;
    }
    builder.bind().await.map_err(|error| error.to_string())
}
