//! The driver: carries a session's messages over a channel and its other actions to a host. It decides nothing.

use std::future::Future;

use stronghold_sync::{
    message::Message,
    session::{Action, Answer, MAX_SEALED, Session, SessionError, Summary},
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Channel, ChannelError};

/// What does a session's actions: it has the entries, the keys and the file.
pub trait Host {
    /// Does one action, never [`Action::Send`] or [`Action::Finished`]; gives the answer if it needs one.
    fn act(&mut self, action: Action) -> impl Future<Output = Option<Answer>> + Send;

    /// A batch of so many bytes is about to come: nothing more is read from the peer before this is done.
    fn make_room(&mut self, bytes: u64) -> impl Future<Output = ()> + Send {
        let _ = bytes;
        async {}
    }
}

/// Why a session did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The session ended in an error.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Drives a session over a channel until it is over.
///
/// # Errors
/// [`DriveError`]. What the session has to tell the peer of it is told.
pub async fn drive<S, H>(
    channel: &mut Channel<S>,
    session: &mut impl Session,
    host: &mut H,
) -> Result<Summary, DriveError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Host,
{
    loop {
        match act(channel, session, host).await {
            Ok(Some(summary)) => {
                channel.flush().await?;
                return Ok(summary);
            }
            Ok(None) => {}
            Err(error) => return Err(last_words(channel, session, error).await),
        }
        let message = channel.receive::<Message>().await?;
        if let Message::Batch(batch) = &message {
            host.make_room(batch.len.min(MAX_SEALED)).await;
        }
        if let Err(error) = session.handle_message(message) {
            return Err(last_words(channel, session, error.into()).await);
        }
    }
}

/// Does what the session wants done, until it wants a message.
async fn act<S, H>(
    channel: &mut Channel<S>,
    session: &mut impl Session,
    host: &mut H,
) -> Result<Option<Summary>, DriveError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Host,
{
    while let Some(action) = session.poll_action() {
        match action {
            Action::Send(message) => channel.send(&message).await?,
            Action::Finished(summary) => return Ok(Some(summary)),
            other => {
                if let Some(answer) = host.act(other).await {
                    session.handle_answer(answer)?;
                }
            }
        }
    }
    Ok(None)
}

/// Tells the peer what the session still has to say to it. Whether that arrives changes nothing here.
async fn last_words<S>(channel: &mut Channel<S>, session: &mut impl Session, error: DriveError) -> DriveError
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    while let Some(action) = session.poll_action() {
        if let Action::Send(message) = action
            && channel.send(&message).await.is_err()
        {
            return error;
        }
    }
    let _ = channel.close().await;
    error
}
