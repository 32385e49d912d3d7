//! Opens the channel of two paired devices: TLS under cover keys, then each side's card as its
//! first message.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use super::{Channel, Timeouts, drain};
use crate::{
    ChannelError, Expect, Trust,
    channel::ephemeral::{EphemeralIdentities, IdentityProof},
};

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Channel<S> {
    /// Connects and sends this device's card at once. The peer's first message must be its card.
    ///
    /// # Errors
    /// [`ChannelError::Stranger`] when the answering peer does not hold the pairing's secret; any
    /// other variant when the handshake fails.
    pub(crate) async fn connect_covered(
        io: S,
        covered: EphemeralIdentities,
        timeouts: Timeouts,
    ) -> Result<Self, ChannelError> {
        let expect = Expect::Device(covered.peers_cover);
        let opened = Self::connect_with(io, &covered.cover, expect, timeouts).await;
        let mut channel = opened.map_err(hide_device)?;
        channel.awaits_card = true;
        channel.show(&covered).await?;
        channel.flush().await?;
        Ok(channel)
    }

    /// Accepts, and waits for the peer's card before sending this device's card. Until then bytes
    /// and time count towards the handshake's limits.
    ///
    /// # Errors
    /// [`ChannelError::Stranger`] and [`ChannelError::WrongCard`] when the peer is not the paired
    /// device; any other variant when the handshake fails.
    pub(crate) async fn accept_covered(
        io: S,
        covered: EphemeralIdentities,
        timeouts: Timeouts,
    ) -> Result<Self, ChannelError> {
        let until = Instant::now() + timeouts.handshake;
        let peers_cover = covered.peers_cover;
        let trust = Trust::known(move |shown| *shown == peers_cover);
        let opened = Self::accept_bounded(io, &covered.cover, trust, timeouts).await;
        let mut channel = opened.map_err(hide_device)?;
        let card = timeout_at(until, channel.receive::<IdentityProof>()).await;
        let card = card.unwrap_or(Err(ChannelError::TimedOut(timeouts.handshake)))?;
        if !card.is_of(&covered.peer, channel.role.other(), &channel.binding) {
            // The peer learns that it is not known, but not which device refused it.
            channel.feed(&None::<IdentityProof>).await?;
            channel.close().await?;
            drain(&mut channel.stream).await;
            return Err(ChannelError::WrongCard);
        }
        channel.stream.get_mut().0.unbounded();
        channel.show(&covered).await?;
        Ok(channel)
    }

    /// Sends this device's card; from here on the channel is between the two devices' own
    /// identities.
    async fn show(&mut self, covered: &EphemeralIdentities) -> Result<(), ChannelError> {
        self.set_identities(covered.own.public().clone(), covered.peer.clone());
        self.feed(&IdentityProof::new(self.role, &self.binding, &covered.own)).await
    }
}

impl<S> Channel<S> {
    /// Takes the peer's card out of the inbox.
    pub(super) fn take_card(&mut self) -> Result<(), ChannelError> {
        let card = self.take_message::<Option<IdentityProof>>()?.ok_or(ChannelError::NotTrusted)?;
        if !card.is_of(&self.peer, self.role.other(), &self.binding) {
            return Err(ChannelError::WrongCard);
        }
        self.awaits_card = false;
        Ok(())
    }
}

/// Replaces errors that name a device: a cover key is no device's id.
fn hide_device(error: ChannelError) -> ChannelError {
    match error {
        ChannelError::WrongDevice(_) | ChannelError::UnknownDevice(_) => ChannelError::Stranger,
        other => other,
    }
}
