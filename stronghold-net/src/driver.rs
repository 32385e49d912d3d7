//! The driver: carries a session's messages over a channel and its other actions to a host. It decides nothing.

use std::future::Future;

use stronghold_sync::{
    message::Message,
    session::{Action, Answer, Session, SessionError, Summary},
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Channel, ChannelError};

/// What does a session's actions: it has the entries, the keys and the file.
pub trait Host {
    /// Does one action, never [`Action::Send`] or [`Action::Finished`]; gives the answer if it needs one.
    fn act(&mut self, action: Action) -> impl Future<Output = Option<Answer>> + Send;

    /// A batch is about to come.
    fn begin_batch(&mut self) {}

    /// So many bytes of the batch have come: nothing more is read from the peer before this is done.
    fn make_room(&mut self, bytes: u64) -> impl Future<Output = Result<(), Overload>> + Send {
        let _ = bytes;
        async { Ok(()) }
    }

    /// A message of so many bytes has come, of which the session keeps a list.
    ///
    /// # Errors
    /// [`Overload`] ends the session.
    fn stage(&mut self, bytes: u64) -> Result<(), Overload> {
        let _ = bytes;
        Ok(())
    }

    /// So many bytes of a batch went to the peer.
    ///
    /// # Errors
    /// [`Overload`] ends the session.
    fn gave(&mut self, bytes: u64) -> Result<(), Overload> {
        let _ = bytes;
        Ok(())
    }
}

/// Why a host does not go on with a peer that has broken nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overload {
    /// There is no memory for more of what it tells.
    #[error("the peer tells of more entries than there is memory for")]
    Full,
    /// It is too slow.
    #[error("the peer is too slow")]
    Slow,
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
    /// The host did not go on.
    #[error(transparent)]
    Overload(#[from] Overload),
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
        match &message {
            Message::Batch(_) => host.begin_batch(),
            Message::Chunk(bytes) => host.make_room(bytes.len() as u64).await?,
            message if is_kept(message) => host.stage(channel.last_frame())?,
            _ => {}
        }
        if let Err(error) = session.handle_message(message) {
            return Err(last_words(channel, session, error.into()).await);
        }
    }
}

/// Whether the session keeps what a message lists.
fn is_kept(message: &Message) -> bool {
    use Message::{Again, Give, Listed, Offered, OnlyHere, OnlyThere, Tell, Want};
    matches!(
        message,
        Tell(_) | Offered(_) | Again(_) | OnlyHere(_) | OnlyThere(_) | Want(_) | Give(_) | Listed(_)
    )
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
            Action::Send(message) => {
                channel.send(&message).await?;
                if let Message::Chunk(bytes) = message {
                    host.gave(bytes.len() as u64)?;
                }
            }
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
