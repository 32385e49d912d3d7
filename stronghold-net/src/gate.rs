//! The gate before the channel: who connects shows first, in 32 bytes that look random, that it is a paired device.
//!
//! TLS alone would show this device's public key to whoever connects, and spend a handshake on each stranger. A *knock* is a
//! nonce of 16 bytes and the first 16 bytes of the mark for it, under the secret of the pairing and for the device that is
//! knocked at. Nothing is answered to anything else, so a port scanner sees a port that hangs up. The TLS handshake
//! follows in the same flight and settles who it really is: a knock lets nobody in, it only keeps others out.
//!
//! A knock that was overheard is good for one handshake with the device that it was for, and only where that device was
//! started again since, or has been knocked at 16,384 times: each nonce is taken once. Whoever can hold a knock back may use
//! it first. What either sees is the public key, nothing else.

use std::{
    collections::{HashSet, VecDeque},
    io,
    sync::{Mutex, PoisonError},
};

use hmac::Mac;
use stronghold_sync::DeviceId;
use stronghold_vault::{NoRandomness, Rendezvous};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    home::SharedHome,
    marks::{Nonce, Purpose, cut, mark},
};

/// How many nonces are remembered, 16 bytes each, twice.
const REMEMBERED: usize = 16_384;

const NONCE: usize = 16;
const MARK: usize = 16;

/// Knocks at `device`, which must share `secret`.
pub(crate) async fn knock<S: AsyncWrite + Unpin>(
    io: &mut S,
    secret: &Rendezvous,
    device: &DeviceId,
) -> io::Result<()> {
    let mut knock = [0; NONCE + MARK];
    let (nonce, shown) = knock.split_at_mut(NONCE);
    getrandom::fill(nonce).map_err(|_| io::Error::other(NoRandomness))?;
    let nonce: Nonce = std::array::from_fn(|index| nonce[index]);
    shown.copy_from_slice(&cut::<MARK>(mark(secret, Purpose::Gate, &nonce, device)));
    io.write_all(&knock).await?;
    io.flush().await
}

/// A device's gate. It remembers the nonces that it has seen.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    nonces: HashSet<Nonce>,
    order: VecDeque<Nonce>,
}

impl Gate {
    /// Reads a knock and says whose it may be; none if it is nobody's.
    pub(crate) async fn admit<S: AsyncRead + Unpin>(
        &self,
        io: &mut S,
        home: &SharedHome,
    ) -> io::Result<Option<DeviceId>> {
        let mut nonce = [0; NONCE];
        let mut shown = [0; MARK];
        io.read_exact(&mut nonce).await?;
        io.read_exact(&mut shown).await?;
        Ok(knocker(home, &nonce, &shown).filter(|_| self.is_new(nonce)))
    }

    fn is_new(&self, nonce: Nonce) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.nonces.insert(nonce) {
            return false;
        }
        seen.order.push_back(nonce);
        if seen.order.len() > REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.nonces.remove(&oldest);
        }
        true
    }
}

/// The paired device whose mark this is, compared in constant time. As the file has it now: a device that another process
/// has just paired is known. Where the file can't be read, as it was read last: a paired device is to hear that.
fn knocker(home: &SharedHome, nonce: &Nonce, shown: &[u8; MARK]) -> Option<DeviceId> {
    let mut home = home.lock();
    let _ = home.refresh();
    let stronghold = home.stronghold();
    let own = stronghold.identity().device();
    let is_its =
        |secret: &Rendezvous| mark(secret, Purpose::Gate, nonce, &own).verify_truncated_left(shown).is_ok();
    let mut peers = stronghold.peers().iter();
    peers.find(|(_, peer)| peer.rendezvous.as_ref().is_some_and(is_its)).map(|(device, _)| *device)
}
