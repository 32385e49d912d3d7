//! Waits on a socket for the first device that shows a proof.

use std::{net::SocketAddr, time::Duration};

use stronghold_vault::Identity;
use tokio::time::{sleep_until, timeout};

use super::{Pairing, PairingError, PendingPairing, PendingProof};
use crate::{
    Channel, ChannelError, Listener, Stream, Trust, server::admission::AdmissionQueue, transport::Arriving,
};

/// Maximum connections from which a proof is pending.
const MOST: usize = 16;

/// Time limit for a connection to show its proof.
const PATIENCE: Duration = Duration::from_secs(20);

impl Pairing {
    /// Listens over QUIC for the device that has the code: at the IP address of `at`, and at the
    /// relays.
    #[cfg(feature = "iroh")]
    pub fn listen_across(
        &self,
        at: SocketAddr,
        relays: crate::Relays,
        on_event: impl Fn(crate::QuicEvent) + Send + Sync + 'static,
    ) -> crate::QuicListener {
        crate::QuicListener::for_secret(crate::rendezvous::tags::of_code(&self.code), at, relays, on_event)
    }

    /// Waits on `listener` for the first device that shows a proof of the code, and answers it as
    /// `identity` under the name `name`. Returns the pending pairing, and the peer's address if it
    /// came over TCP.
    ///
    /// Connections without a proof are dropped and do not use up the code; the first proof, right
    /// or wrong, does.
    ///
    /// # Errors
    /// [`PairingError::WrongCode`] when that proof is wrong: the code is used up.
    /// [`PairingError::Expired`] when no proof arrives in time.
    pub async fn wait(
        self,
        listener: &Listener,
        identity: &Identity,
        name: &str,
    ) -> Result<(PendingPairing, Option<SocketAddr>), PairingError> {
        let cover = Identity::generate()?;
        let mut crowd = AdmissionQueue::with_capacity(MOST);
        loop {
            tokio::select! {
                biased;
                (knock, address) = next_proof(&mut crowd) => {
                    return Ok((self.answer(knock, identity, name).await?, address));
                }
                () = sleep_until(self.until) => return Err(PairingError::Expired),
                arriving = listener.next() => {
                    let (cover, address) = (cover.duplicate(), arriving.address());
                    let knock = async move { (timeout(PATIENCE, receive_proof(arriving, &cover)).await, address) };
                    crowd.admit(knock);
                }
            }
        }
    }
}

type ReceivedProof =
    (Result<Result<PendingProof<Stream>, ChannelError>, tokio::time::error::Elapsed>, Option<SocketAddr>);

async fn next_proof(crowd: &mut AdmissionQueue<ReceivedProof>) -> (PendingProof<Stream>, Option<SocketAddr>) {
    loop {
        if let (Ok(Ok(knock)), address) = crowd.next().await {
            return (knock, address);
        }
    }
}

async fn receive_proof(arriving: Arriving, cover: &Identity) -> Result<PendingProof<Stream>, ChannelError> {
    let stream = arriving.open().await.map_err(|error| ChannelError::from_io(&error))?;
    PendingProof::receive(Channel::accept(stream, cover, Trust::Anyone).await?).await
}
