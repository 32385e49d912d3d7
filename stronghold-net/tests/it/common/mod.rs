//! Provides two paired Strongholds in a folder, and a channel between them in memory.

use std::path::Path;

use stronghold_net::{Channel, Expect, Limits, SharedVault, Trust};
use stronghold_snapshot::{NewSlot, Unlock, VaultFile};
use stronghold_sync::{DeviceId, Operation, Rule, Selection, Timestamp};
use stronghold_vault::{Labels, Peer, Rendezvous, Stronghold};
use tempfile::TempDir;
use tokio::io::{DuplexStream, duplex};

pub(crate) const KEY: [u8; 32] = [7; 32];

/// Returns the default limits but for what `set` sets.
pub(crate) fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits);
    limits
}

/// A device: its file and its content.
pub(crate) struct Device {
    pub(crate) folder: TempDir,
    pub(crate) home: SharedVault,
}

impl Device {
    pub(crate) fn new(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("snapshot");
        let home = VaultFile::create(&path, &[NewSlot::Key(&KEY)], Stronghold::new(name).unwrap()).unwrap();
        Self { folder, home: SharedVault::new(home) }
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.home.lock().stronghold().identity().device()
    }

    /// Opens the same file again, as another process would.
    pub(crate) fn opened_again(&self) -> SharedVault {
        opened(self.folder.path())
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("snapshot")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Stronghold) -> T) -> T {
        self.home.lock().update(|stronghold| Ok(change(stronghold))).unwrap()
    }

    pub(crate) fn put(&self, location: &str, value: &str) {
        self.put_all([(location.to_owned(), value.to_owned())]);
    }

    pub(crate) fn put_all(&self, entries: impl IntoIterator<Item = (String, String)>) {
        self.change(|stronghold| {
            for (location, value) in entries {
                let location = location.parse().unwrap();
                stronghold
                    .write(&location, value.as_bytes(), Labels::new(), Timestamp::from_millis(1))
                    .unwrap();
            }
        });
    }

    pub(crate) fn remove(&self, location: &str) {
        self.change(|stronghold| {
            stronghold.remove(&location.parse().unwrap(), Timestamp::from_millis(2)).unwrap()
        });
    }

    /// Returns the readable names and values in the file on disk.
    pub(crate) fn entries(&self) -> Vec<(String, String)> {
        entries_in(&self.path())
    }

    /// Trusts another device and grants it these operations.
    pub(crate) fn grant(&self, peer: &Self, operations: &[Operation], selection: &str) {
        let public = peer.home.lock().stronghold().identity().public().clone();
        let selection: Selection = selection.parse().unwrap();
        self.change(|stronghold| {
            let name = "peer".to_owned();
            let spki = public.spki().to_vec();
            let rendezvous = between(&public.device(), &stronghold.identity().device());
            let known = Peer {
                name: name.clone(),
                own_name: name,
                spki,
                address: None,
                paired: Timestamp::from_millis(1),
                generation: 0,
                rendezvous: Some(rendezvous),
            };
            stronghold.peers_mut().insert(public.device(), known);
            if !operations.is_empty() {
                let operations = operations.iter().copied().collect();
                let device = public.device();
                stronghold.policy_mut().grant(Rule {
                    device,
                    operations,
                    selection,
                    expires: None,
                    ask: false,
                });
            }
        });
    }
}

/// Opens the file in a device's folder.
pub(crate) fn opened(folder: &Path) -> SharedVault {
    SharedVault::new(VaultFile::open(&folder.join("snapshot"), &Unlock::Key(&KEY)).unwrap())
}

/// Returns the rendezvous secret of two devices in these tests.
pub(crate) fn between(one: &DeviceId, other: &DeviceId) -> Rendezvous {
    Rendezvous::from_bytes(std::array::from_fn(|at| one.as_bytes()[at] ^ other.as_bytes()[at]))
}

pub(crate) fn entries_in(path: &Path) -> Vec<(String, String)> {
    let home = VaultFile::open(path, &Unlock::Key(&KEY)).unwrap();
    let stronghold = home.stronghold();
    let listed = stronghold.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap();
    let read =
        |location| String::from_utf8(stronghold.read(location).unwrap().revision.value.to_vec()).unwrap();
    listed.iter().map(|entry| (entry.location.to_string(), read(&entry.location))).collect()
}

/// All operations that can be granted to a device.
pub(crate) const ALL: &[Operation] = &Operation::ALL;

/// Creates two devices that grant each other everything.
pub(crate) fn friends() -> (Device, Device) {
    let (asker, asked) = (Device::new("asker"), Device::new("asked"));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, ALL, "**");
    (asker, asked)
}

/// Opens a channel between two devices; the first is the initiator.
pub(crate) async fn channels(
    asker: &Device,
    asked: &Device,
) -> (Channel<DuplexStream>, Channel<DuplexStream>) {
    let (near, far) = duplex(1 << 20);
    let (own, other) = (asker.home.identity(), asked.home.identity());
    let known = own.device();
    tokio::try_join!(
        Channel::connect(near, &own, Expect::Device(other.device())),
        Channel::accept(far, &other, Trust::known(move |device| *device == known)),
    )
    .unwrap()
}
