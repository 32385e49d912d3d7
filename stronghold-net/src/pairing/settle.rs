//! Runs the last step of a pairing: both devices save the peer or neither does, and a side that
//! can't know says so.
//!
//! The listener saves first and reports the result; then the joiner does. If the joiner can't save,
//! the listener undoes its own change. Only if the connection is cut between the two reports, the
//! listener does not know what the joiner did: it reports that, and the next session, or pairing
//! again, settles it.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{CONFIRM_WAIT, Paired};
use crate::{ChannelError, Timeouts, channel::frame::Role};

/// The state of a pairing that this side has saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The peer has saved it too.
    Both,
    /// The channel failed before the peer reported whether it saved the pairing.
    Here(ChannelError),
}

/// An error that left this side without the pairing; `E` is an error of saving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsettled<E> {
    /// This side could not save it. The peer was told, and does not have it either.
    #[error("this device could not save the pairing")]
    Save(#[source] E),
    /// The peer could not save it. This side keeps nothing of it.
    #[error("the other device could not save the pairing")]
    There,
    /// The peer could not save it, and this side could not undo its own change.
    #[error("the other device could not save the pairing, and this one could not take it back")]
    TakeBack(#[source] E),
    /// The channel failed before this side saved anything. The peer may have saved it.
    #[error(transparent)]
    Channel(ChannelError),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Paired<S> {
    /// Saves the pairing durably with `save`, on both sides or on neither. `take_back` undoes
    /// `save` if the peer could not save.
    ///
    /// # Errors
    /// [`Unsettled`] when this side does not have the pairing.
    pub async fn settle<T, E>(
        &mut self,
        save: impl AsyncFnOnce(&Self) -> Result<T, E>,
        take_back: impl AsyncFnOnce(T) -> Result<(), E>,
    ) -> Result<(T, Settled), Unsettled<E>> {
        // Saving may have to wait for another process.
        self.channel.set_idle_timeout(CONFIRM_WAIT);
        let settled = match self.channel.role() {
            Role::Accepted => self.settle_first(save, take_back).await,
            Role::Connected => self.settle_last(save).await,
        };
        self.channel.set_idle_timeout(Timeouts::default().idle);
        if matches!(settled, Err(Unsettled::Save(_))) {
            let _ = self.channel.close().await;
        }
        settled
    }

    async fn settle_first<T, E>(
        &mut self,
        save: impl AsyncFnOnce(&Self) -> Result<T, E>,
        take_back: impl AsyncFnOnce(T) -> Result<(), E>,
    ) -> Result<(T, Settled), Unsettled<E>> {
        let saved = match save(self).await {
            Ok(saved) => saved,
            Err(error) => {
                let _ = self.say(false).await;
                return Err(Unsettled::Save(error));
            }
        };
        let heard = match self.say(true).await {
            Ok(()) => self.channel.receive::<bool>().await,
            Err(error) => Err(error),
        };
        match heard {
            Ok(true) => Ok((saved, Settled::Both)),
            Ok(false) => match take_back(saved).await {
                Ok(()) => Err(Unsettled::There),
                Err(error) => Err(Unsettled::TakeBack(error)),
            },
            Err(error) => Ok((saved, Settled::Here(error))),
        }
    }

    async fn settle_last<T, E>(
        &mut self,
        save: impl AsyncFnOnce(&Self) -> Result<T, E>,
    ) -> Result<(T, Settled), Unsettled<E>> {
        match self.channel.receive::<bool>().await {
            Ok(true) => {}
            Ok(false) => return Err(Unsettled::There),
            Err(error) => return Err(Unsettled::Channel(error)),
        }
        match save(self).await {
            // Both sides have the pairing, whether or not this arrives.
            Ok(saved) => {
                let _ = self.say(true).await;
                Ok((saved, Settled::Both))
            }
            Err(error) => {
                let _ = self.say(false).await;
                Err(Unsettled::Save(error))
            }
        }
    }

    async fn say(&mut self, is_saved: bool) -> Result<(), ChannelError> {
        self.channel.feed(&is_saved).await?;
        self.channel.flush().await
    }
}
