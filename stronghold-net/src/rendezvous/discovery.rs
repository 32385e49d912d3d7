//! Finds devices on the LAN by announcements that only the intended devices can read.
//!
//! A reachable device announces a service by multicast DNS (RFC 6762, RFC 6763): a random nonce of
//! 16 bytes as service and host name, its addresses and port, and a list of *tags* of 8 bytes. The
//! list has one tag for each paired device: the tag of the nonce under the secret of the pairing.
//! Random tags pad the list to a multiple of 8. A searching device computes its own tag for each
//! nonce that it hears, and so recognises its peer. To all others nonce and tags are random; both
//! change every 15 minutes and at each start. An observer of the LAN sees that a device at this
//! address runs Stronghold, and about how many devices it is paired with.
//!
//! While a pairing code is shown, the secret comes from the code: only a device that has the code
//! finds the one that shows it.
//!
//! An announcement proves nothing and nothing trusts it: a replayed one leads to a port where the
//! handshake fails.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use stronghold_snapshot::SharedVault;
use stronghold_sync::{DeviceId, hex};
use stronghold_vault::{RandomnessError, Rendezvous, random};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle, time::sleep};

use crate::{
    PairingCode,
    rendezvous::tags::{ANY_DEVICE, Nonce, TagContext, of_code, tag, truncate},
};

const SERVICE: &str = "_stronghold._tcp.local.";
/// Time after which a device is announced under a new nonce.
const ROTATION: Duration = Duration::from_secs(15 * 60);
/// Interval between checks for newly paired or unpaired devices.
const LOOK: Duration = Duration::from_secs(5);
/// Unit of padding: the number of tags in a list is a multiple of it.
const TAGS: usize = 8;
/// Maximum number of tags, so that an announcement fits a packet. Searches do not find further
/// devices.
const MAX_TAGS: usize = 56;
/// Number of tags in one string of the TXT record, 16 hexadecimal digits each.
const TAGS_PER_STRING: usize = 14;

type Tag = [u8; 8];

/// An error of multicast DNS: the LAN can't be searched, or this device can't be announced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mDNS is unavailable: {0}")]
pub struct DiscoveryError(String);

impl DiscoveryError {
    pub(crate) fn new(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

impl From<RandomnessError> for DiscoveryError {
    fn from(error: RandomnessError) -> Self {
        Self(error.to_string())
    }
}

/// The devices that an announcement is for.
#[derive(Debug)]
enum Audience {
    /// The devices paired with this one, at any time.
    Peers(SharedVault),
    /// Any device that knows the secret of this code.
    Pairing(Rendezvous),
}

/// An announcement on the LAN, until it is dropped.
#[must_use = "an announcement ends when it is dropped"]
pub struct Announcement {
    daemon: ServiceDaemon,
    renewing: JoinHandle<()>,
}

impl Announcement {
    /// Announces to paired devices that this device is reachable at `listening`.
    ///
    /// # Errors
    /// [`DiscoveryError`] where the system has no multicast, or outside of a tokio runtime.
    pub fn for_peers(home: &SharedVault, listening: SocketAddr) -> Result<Self, DiscoveryError> {
        Self::new(Audience::Peers(home.clone()), listening)
    }

    /// Announces to any device with the code that the device showing it is reachable at
    /// `listening`.
    ///
    /// # Errors
    /// [`DiscoveryError`] where the system has no multicast, or outside of a tokio runtime.
    pub fn for_pairing(code: &PairingCode, listening: SocketAddr) -> Result<Self, DiscoveryError> {
        Self::new(Audience::Pairing(of_code(code)), listening)
    }

    fn new(audience: Audience, listening: SocketAddr) -> Result<Self, DiscoveryError> {
        let runtime = Handle::try_current().map_err(DiscoveryError::new)?;
        let daemon = ServiceDaemon::new().map_err(DiscoveryError::new)?;
        let lan = Lan { daemon: daemon.clone(), listening };
        let renewing = runtime.spawn(async move { renew(&lan, &audience).await });
        Ok(Self { daemon, renewing })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.renewing.abort();
        // The daemon withdraws the announcement; nothing depends on whether anyone hears it.
        let _ = self.daemon.shutdown();
    }
}

/// Searches the LAN for the device that shows this code. Each address is reported once.
///
/// # Errors
/// [`DiscoveryError`] where the system has no multicast, or outside of a tokio runtime.
pub fn search_for_code(code: &PairingCode) -> Result<Search, DiscoveryError> {
    search(of_code(code), ANY_DEVICE)
}

/// Searches the LAN for a device that shares `secret` with this one.
///
/// # Errors
/// [`DiscoveryError`] where the system has no multicast, or outside of a tokio runtime.
pub fn search_for_peer(secret: &Rendezvous, device: DeviceId) -> Result<Search, DiscoveryError> {
    search(secret.clone(), device)
}

/// A search of the LAN, until it is dropped.
#[must_use = "a search ends when it is dropped"]
pub struct Search {
    found: mpsc::Receiver<SocketAddr>,
    listening: JoinHandle<()>,
}

impl Search {
    /// Returns the next address at which the device may be. Pends forever while there is none.
    pub async fn next(&mut self) -> SocketAddr {
        match self.found.recv().await {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
impl Search {
    /// A search that finds these, one after the other.
    pub(crate) fn that_finds(addresses: Vec<SocketAddr>) -> Self {
        let (send, found) = mpsc::channel(16);
        let listening = tokio::spawn(async move {
            for address in addresses {
                let _ = send.send(address).await;
            }
            std::future::pending().await
        });
        Self { found, listening }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn search(secret: Rendezvous, device: DeviceId) -> Result<Search, DiscoveryError> {
    let runtime = Handle::try_current().map_err(DiscoveryError::new)?;
    let daemon = Searching(ServiceDaemon::new().map_err(DiscoveryError::new)?);
    let events = daemon.0.browse(SERVICE).map_err(DiscoveryError::new)?;
    let (send, found) = mpsc::channel(16);
    let listening = runtime.spawn(async move {
        let _daemon = daemon;
        let mut heard = Heard { secret, device, told: BTreeSet::new() };
        while let Ok(event) = events.recv_async().await {
            for address in heard.news(&event) {
                let _ = send.send(address).await;
            }
        }
    });
    Ok(Search { found, listening })
}

/// What searches; it stops when this is dropped.
struct Searching(ServiceDaemon);

impl Drop for Searching {
    fn drop(&mut self) {
        let _ = self.0.shutdown();
    }
}

/// Where a device that is searched for was heard of.
struct Heard {
    secret: Rendezvous,
    device: DeviceId,
    told: BTreeSet<SocketAddr>,
}

impl Heard {
    /// The addresses of the device that an event tells of for the first time.
    fn news(&mut self, event: &ServiceEvent) -> Vec<SocketAddr> {
        match event {
            ServiceEvent::ServiceResolved(service) if is_of(service, &self.secret, &self.device) => {
                let mut addresses = addresses(service);
                addresses.retain(|address| self.told.insert(*address));
                addresses
            }
            _ => Vec::new(),
        }
    }
}

/// For each who is meant: as which device it is told, and under which secret.
type Secrets = Vec<(DeviceId, Rendezvous)>;

/// Where announcements stand.
trait Board {
    /// Announces once; gives the name under which it stands.
    fn announce(&self, secrets: &Secrets) -> Result<String, DiscoveryError>;

    /// Takes back what was announced under a name.
    fn withdraw(&self, name: &str);
}

/// The LAN, for a device that listens there.
struct Lan {
    daemon: ServiceDaemon,
    listening: SocketAddr,
}

impl Board for Lan {
    fn announce(&self, secrets: &Secrets) -> Result<String, DiscoveryError> {
        let service = service(secrets, self.listening)?;
        let name = service.get_fullname().to_owned();
        self.daemon.register(service).map_err(DiscoveryError::new)?;
        Ok(name)
    }

    fn withdraw(&self, name: &str) {
        let _ = self.daemon.unregister(name);
    }
}

/// Renews the announcement when it is due, or when the audience changed.
async fn renew(board: &impl Board, audience: &Audience) {
    let mut looks = 0u32;
    let mut standing: Option<(String, Secrets)> = None;
    loop {
        let secrets = audience.secrets().await;
        let is_due = LOOK * looks >= ROTATION;
        if standing.as_ref().is_none_or(|(_, announced)| is_due || *announced != secrets) {
            if let Some((name, _)) = standing.take() {
                board.withdraw(&name);
            }
            match board.announce(&secrets) {
                Ok(name) => standing = Some((name, secrets)),
                Err(error) => tracing::warn!(%error, "this device can't be announced on the LAN"),
            }
            looks = 0;
        }
        sleep(LOOK).await;
        looks += 1;
    }
}

impl Audience {
    /// Returns, for each intended device, the device id to compute the tag for and the secret.
    async fn secrets(&self) -> Secrets {
        match self {
            Self::Pairing(secret) => vec![(ANY_DEVICE, secret.clone())],
            Self::Peers(home) => {
                let secrets = home.call(|vault| {
                    // A file that can't be read now may be readable at the next look.
                    let _ = vault.refresh();
                    let stronghold = vault.stronghold();
                    let own = stronghold.identity().device();
                    let peers = stronghold.peers().iter();
                    peers.filter_map(|(_, peer)| Some((own, peer.rendezvous.clone()?))).collect()
                });
                secrets.await
            }
        }
    }
}

fn service(secrets: &[(DeviceId, Rendezvous)], listening: SocketAddr) -> Result<ServiceInfo, DiscoveryError> {
    let nonce: Nonce = random()?;
    let strings = strings(secrets, &nonce)?;
    let (name, port) = (hex::text(&nonce), listening.port());
    let host = format!("{name}.local.");
    let service = match listening.ip() {
        ip if ip.is_unspecified() => ServiceInfo::new(SERVICE, &name, &host, "", port, strings.as_slice())
            .map(ServiceInfo::enable_addr_auto),
        ip => ServiceInfo::new(SERVICE, &name, &host, ip, port, strings.as_slice()),
    };
    let mut service = service.map_err(DiscoveryError::new)?;
    // The name is random, so that no probe for duplicates is needed.
    service.set_requires_probe(false);
    if listening.is_ipv4() {
        // Nobody listens at this machine's other addresses.
        service.set_interfaces(vec![IfKind::IPv4]);
    }
    Ok(service)
}

/// Returns the strings of the TXT record, each with its key.
pub(crate) fn strings(
    secrets: &[(DeviceId, Rendezvous)],
    nonce: &Nonce,
) -> Result<Vec<(String, String)>, DiscoveryError> {
    let tags: Vec<String> = tags(secrets, nonce)?.iter().map(|tag| hex::text(tag)).collect();
    let strings = tags.chunks(TAGS_PER_STRING).map(<[String]>::concat);
    Ok((0..).zip(strings).map(|(key, text): (u32, _)| (key.to_string(), text)).collect())
}

/// Returns the tags of the intended devices and the padding, in an order that tells nothing.
fn tags(secrets: &[(DeviceId, Rendezvous)], nonce: &Nonce) -> Result<BTreeSet<Tag>, DiscoveryError> {
    let meant = secrets.iter().take(MAX_TAGS);
    let mut tags: BTreeSet<Tag> = meant
        .map(|(device, secret)| truncate(tag(secret, TagContext::Announcement, nonce, device)))
        .collect();
    let full = tags.len().max(1).next_multiple_of(TAGS);
    while tags.len() < full {
        tags.insert(random()?);
    }
    Ok(tags)
}

/// Returns whether an announcement is by the device that shares this secret.
fn is_of(service: &ResolvedService, secret: &Rendezvous, device: &DeviceId) -> bool {
    let name = service.fullname.strip_suffix(SERVICE).and_then(|name| name.strip_suffix('.'));
    let Some(nonce) = name.and_then(hex::read::<16>) else { return false };
    let tag: Tag = truncate(tag(secret, TagContext::Announcement, &nonce, device));
    let tag = hex::text(&tag);
    let strings = service.txt_properties.iter().take(MAX_TAGS / TAGS_PER_STRING);
    strings
        .filter_map(|string| string.val())
        .flat_map(|text| text.chunks(tag.len()))
        .any(|one| one == tag.as_bytes())
}

/// Returns the addresses of an announced device, IPv4 first.
fn addresses(service: &ResolvedService) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = service
        .addresses
        .iter()
        .map(|address| match address {
            ScopedIp::V6(v6) => SocketAddrV6::new(*v6.addr(), service.port, 0, v6.scope_id().index).into(),
            other => SocketAddr::new(other.to_ip_addr(), service.port),
        })
        .collect();
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses
}

/// Returns this machine's addresses at which other devices may reach a socket bound to `listening`,
/// best first.
pub fn reachable_at(listening: SocketAddr) -> Vec<SocketAddr> {
    if !listening.ip().is_unspecified() {
        return vec![listening];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    best(interfaces.iter().map(if_addrs::Interface::ip), listening)
}

/// Of a machine's addresses those at which others reach what listens at all of them, by IPv4 first.
fn best(addresses: impl Iterator<Item = IpAddr>, listening: SocketAddr) -> Vec<SocketAddr> {
    let is_routable = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => listening.is_ipv6() && !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let mut found: Vec<IpAddr> = addresses.filter(is_routable).collect();
    found.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    found
        .into_iter()
        .map(|ip| SocketAddr::new(ip, listening.port()))
        .take(crate::pairing::invitation::MAX_ADDRESSES)
        .collect()
}
