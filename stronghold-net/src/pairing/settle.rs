//! The last step of a pairing: both devices save the other, or neither does, or each knows what it can't know.
//!
//! The listener saves first and says whether it could; then the joiner does. Where the joiner can't, the listener takes its own
//! back. Only where the connection is cut between the two words does the listener not know what became of the joiner: it says
//! so, and the next session, or pairing again, settles it.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{CONFIRM_WAIT, Paired};
use crate::{ChannelError, Timeouts, frame::Role};

/// What is known when this side has saved the pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The other side has saved it too.
    Both,
    /// The other side has not said whether it has: the channel failed before.
    Here(ChannelError),
}

/// Why this side does not have the pairing; `E` is an error of saving.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled<E> {
    /// This side could not save it. The other was told, and does not have it either.
    #[error("this device could not save the pairing")]
    Save(#[source] E),
    /// The other side could not save it. This side has nothing of it.
    #[error("the other device could not save the pairing")]
    There,
    /// The other side could not save it, and this side, which had, could not take that back.
    #[error("the other device could not save the pairing, and this one could not take it back")]
    TakeBack(#[source] E),
    /// The channel failed before this side saved anything. The other side may have.
    #[error(transparent)]
    Channel(ChannelError),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Paired<S> {
    /// Saves the pairing durably by `save`, on both sides or on neither. `take_back` undoes what `save` did, where the other
    /// side could not save.
    ///
    /// # Errors
    /// [`Unsettled`], when this side does not have the pairing.
    pub async fn settle<T, E>(
        &mut self,
        save: impl FnOnce(&Self) -> Result<T, E>,
        take_back: impl FnOnce(T) -> Result<(), E>,
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
        save: impl FnOnce(&Self) -> Result<T, E>,
        take_back: impl FnOnce(T) -> Result<(), E>,
    ) -> Result<(T, Settled), Unsettled<E>> {
        let saved = match save(self) {
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
            Ok(false) => match take_back(saved) {
                Ok(()) => Err(Unsettled::There),
                Err(error) => Err(Unsettled::TakeBack(error)),
            },
            Err(error) => Ok((saved, Settled::Here(error))),
        }
    }

    async fn settle_last<T, E>(
        &mut self,
        save: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<(T, Settled), Unsettled<E>> {
        match self.channel.receive::<bool>().await {
            Ok(true) => {}
            Ok(false) => return Err(Unsettled::There),
            Err(error) => return Err(Unsettled::Channel(error)),
        }
        match save(self) {
            // Whether or not it arrives: both have it.
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
