//! Waits on a socket for the first device that shows a proof.

use std::{net::SocketAddr, time::Duration};

use stronghold_vault::Identity;
use tokio::time::{sleep_until, timeout};

use super::{Pairing, PairingError, PendingPairing, PendingProof};
use crate::{Channel, ChannelError, Listener, Stream, Trust, server::admission::AdmissionQueue};

/// Maximum connections from which a proof is pending.
const MOST: usize = 16;

/// Time limit for a connection to show its proof.
const PATIENCE: Duration = Duration::from_secs(20);

impl Pairing {
    /// Waits on `listener` for the first device that shows a proof of the code, and answers it as
    /// `identity` under the name `name`. Returns the pending pairing and the peer's address.
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
    ) -> Result<(PendingPairing, SocketAddr), PairingError> {
        let cover = Identity::generate()?;
        let mut crowd = AdmissionQueue::with_capacity(MOST);
        loop {
            tokio::select! {
                biased;
                (knock, address) = next_proof(&mut crowd) => {
                    return Ok((self.answer(knock, identity, name).await?, address));
                }
                () = sleep_until(self.until) => return Err(PairingError::Expired),
                (stream, address) = listener.accept() => {
                    let cover = cover.duplicate();
                    let knock = async move { (timeout(PATIENCE, receive_proof(stream, &cover)).await, address) };
                    crowd.admit(knock);
                }
            }
        }
    }
}

type ReceivedProof =
    (Result<Result<PendingProof<Stream>, ChannelError>, tokio::time::error::Elapsed>, SocketAddr);

async fn next_proof(crowd: &mut AdmissionQueue<ReceivedProof>) -> (PendingProof<Stream>, SocketAddr) {
    loop {
        if let (Ok(Ok(knock)), address) = crowd.next().await {
            return (knock, address);
        }
    }
}

async fn receive_proof(stream: Stream, cover: &Identity) -> Result<PendingProof<Stream>, ChannelError> {
    PendingProof::receive(Channel::accept(stream, cover, Trust::Anyone).await?).await
}
