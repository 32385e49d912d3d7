//! Drives a session: carries its messages over a channel, and its other actions to a host. Decides
//! nothing itself.

use std::future::Future;

use stronghold_sync::{
    message::Message,
    session::{Action, Event, Session, SessionError, Summary, Task, TaskError, TaskResult},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
};

use crate::{Channel, ChannelError, session::offload::Offloaded};

/// A host of sessions, which runs their actions on the entries, the keys and the file.
pub trait Host {
    /// Performs a task and returns its result.
    ///
    /// # Errors
    /// [`TaskError`] ends the session.
    fn perform(&mut self, task: Task) -> impl Future<Output = Result<TaskResult, TaskError>> + Send;

    /// Takes note of an event.
    ///
    /// # Errors
    /// [`TaskError`] when the log could not be written: it ends the session.
    fn notify(&mut self, event: Event) -> impl Future<Output = Result<(), TaskError>> + Send;

    /// Called before a batch arrives.
    fn begin_batch(&mut self) {}

    /// Called after `bytes` bytes of the batch arrived; nothing more is read from the peer until it
    /// resolves.
    fn make_room(&mut self, bytes: u64) -> impl Future<Output = Result<(), Overload>> + Send {
        let _ = bytes;
        async { Ok(()) }
    }

    /// Called after a message of `bytes` bytes arrived, of which the session keeps a list.
    ///
    /// # Errors
    /// [`Overload`] ends the session.
    fn stage(&mut self, bytes: u64) -> Result<(), Overload> {
        let _ = bytes;
        Ok(())
    }

    /// Called after a chunk of `bytes` bytes was queued or sent.
    ///
    /// # Errors
    /// [`Overload`] ends the session.
    fn on_chunk_sent(&mut self, bytes: u64) -> Result<(), Overload> {
        let _ = bytes;
        Ok(())
    }
}

/// A host's reason to stop although the peer broke no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Overload {
    /// The memory for entries that the peer lists is exhausted.
    #[error("the peer tells of more entries than there is memory for")]
    Full,
    /// The peer is too slow.
    #[error("the peer is too slow")]
    Slow,
}

/// An error that ended a session early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// A failure of the channel.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// An error of the session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A stop by the host.
    #[error(transparent)]
    Overload(#[from] Overload),
}

/// Drives a session over a channel to its end.
///
/// # Errors
/// [`DriveError`]. The session's final message, if any, is sent before this returns.
pub async fn drive<C, S, H>(channel: &mut Channel<C>, session: S, host: &mut H) -> Result<Summary, DriveError>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: Session + Send + 'static,
    H: Host,
{
    let mut session = Offloaded::new(session);
    loop {
        match act(channel, &mut session, host).await {
            Ok(Some(summary)) => {
                channel.flush().await?;
                return Ok(summary);
            }
            Ok(None) => {}
            Err(error) => {
                let error = refusal_behind(channel, &mut session, error).await;
                return Err(last_words(channel, &mut session, host, error).await);
            }
        }
        let message = channel.receive::<Message>().await?;
        match &message {
            Message::Batch(_) => host.begin_batch(),
            Message::Chunk(bytes) => host.make_room(bytes.len() as u64).await?,
            message if is_staged(message) => host.stage(channel.last_frame())?,
            _ => {}
        }
        if let Err(error) = session.handle_message(message).await {
            return Err(last_words(channel, &mut session, host, error.into()).await);
        }
    }
}

/// Returns whether the session keeps a list that the message carries.
fn is_staged(message: &Message) -> bool {
    use Message::{Digest, Listing, Missing, NeedMore, Needed, Offer, Push, Want};
    matches!(
        message,
        Digest(_) | Offer(_) | NeedMore(_) | Missing(_) | Needed(_) | Want(_) | Push(_) | Listing(_)
    )
}

/// Runs the session's actions until it waits for a message.
async fn act<C, S, H>(
    channel: &mut Channel<C>,
    session: &mut Offloaded<S>,
    host: &mut H,
) -> Result<Option<Summary>, DriveError>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: Session + Send + 'static,
    H: Host,
{
    while let Some(action) = session.poll_action() {
        match action {
            Action::Send(message) => {
                channel.feed(&message).await?;
                if let Message::Chunk(bytes) = message {
                    host.on_chunk_sent(bytes.len() as u64)?;
                }
                // A long list is many messages, and none of them need wait for the network.
                yield_now().await;
            }
            Action::Finished(summary) => return Ok(Some(summary)),
            Action::Perform(task) => {
                // A person takes time to answer: the peer hears that one is asked before.
                if matches!(task, Task::Approve(_) | Task::Confirm(_)) {
                    channel.flush().await?;
                }
                match host.perform(task).await {
                    Ok(result) => session.handle_result(result).await?,
                    Err(failure) => return Err(session.handle_failure(failure).into()),
                }
            }
            Action::Notify(event) => {
                if let Err(failure) = host.notify(event).await {
                    return Err(session.handle_failure(failure).into());
                }
            }
        }
    }
    Ok(None)
}

/// Returns the peer's refusal, if it sent one before it hung up, in place of the error of a write
/// that failed for it.
async fn refusal_behind<C, S>(
    channel: &mut Channel<C>,
    session: &mut Offloaded<S>,
    error: DriveError,
) -> DriveError
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: Session + Send + 'static,
{
    if matches!(error, DriveError::Channel(ChannelError::Cut | ChannelError::Closed))
        && let Ok(refused @ Message::Refused(_)) = channel.receive::<Message>().await
        && let Err(refused) = session.handle_message(refused).await
    {
        return refused.into();
    }
    error
}

/// Logs the session's last decisions and sends its final message. Their failure does not replace
/// `error`.
async fn last_words<C, S, H>(
    channel: &mut Channel<C>,
    session: &mut Offloaded<S>,
    host: &mut H,
    error: DriveError,
) -> DriveError
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: Session + Send + 'static,
    H: Host,
{
    while let Some(action) = session.poll_action() {
        match action {
            Action::Notify(event) => drop(host.notify(event).await),
            Action::Send(message) if channel.feed(&message).await.is_err() => return error,
            _ => {}
        }
    }
    let _ = channel.close().await;
    error
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
    };

    use stronghold_sync::{
        Ancestors, Location, RevisionId, Shape,
        message::{Batch, Refusal},
    };
    use tokio::io::DuplexStream;

    use super::*;
    use crate::common::{channels, friends};

    /// Says and does what it is to, one part for each message that it hears; and fails at the last.
    #[derive(Default)]
    struct Scripted {
        parts: VecDeque<Vec<Action>>,
        now: VecDeque<Action>,
        heard: Arc<Mutex<Vec<Message>>>,
        fails: bool,
    }

    impl Scripted {
        fn of(parts: Vec<Vec<Action>>) -> Self {
            let mut parts: VecDeque<_> = parts.into();
            Self { now: parts.pop_front().unwrap_or_default().into(), parts, ..Self::default() }
        }
    }

    impl Session for Scripted {
        fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
            self.heard.lock().unwrap().push(message);
            self.now = self.parts.pop_front().unwrap_or_default().into();
            if self.fails && self.parts.is_empty() { Err(SessionError::Local) } else { Ok(()) }
        }

        fn handle_result(&mut self, _: TaskResult) -> Result<(), SessionError> {
            Err(SessionError::ApiMisuse)
        }

        fn handle_failure(&mut self, failure: TaskError) -> SessionError {
            failure.into()
        }

        fn poll_action(&mut self) -> Option<Action> {
            self.now.pop_front()
        }
    }

    /// Counts what it is told, and has had enough at some of it.
    #[derive(Default)]
    struct Counting {
        told: Vec<String>,
        enough: &'static str,
    }

    impl Counting {
        fn note(&mut self, what: &str, bytes: u64) -> Result<(), Overload> {
            self.told.push(format!("{what} {bytes}"));
            if self.enough == what { Err(Overload::Slow) } else { Ok(()) }
        }
    }

    impl Host for Counting {
        async fn perform(&mut self, _: Task) -> Result<TaskResult, TaskError> {
            self.told.push("perform".into());
            if self.enough == "perform" { Err(TaskError::Limits) } else { Ok(TaskResult::Approved) }
        }

        async fn notify(&mut self, event: Event) -> Result<(), TaskError> {
            self.told.push("notify".into());
            let fails = self.enough == "log" && matches!(event, Event::Log(_));
            if fails { Err(TaskError::Local) } else { Ok(()) }
        }

        fn begin_batch(&mut self) {
            self.told.push("batch".into());
        }

        async fn make_room(&mut self, bytes: u64) -> Result<(), Overload> {
            self.note("room", bytes)
        }

        fn stage(&mut self, bytes: u64) -> Result<(), Overload> {
            self.note("stage", u64::from(bytes > 0))
        }

        fn on_chunk_sent(&mut self, bytes: u64) -> Result<(), Overload> {
            self.note("gave", bytes)
        }
    }

    fn chunk(bytes: usize) -> Message {
        Message::Chunk(vec![7; bytes])
    }

    async fn both() -> [Channel<DuplexStream>; 2] {
        let (one, other) = friends();
        channels(&one, &other).await.into()
    }

    /// A batch is begun, its bytes are made room for, lists are staged; what goes out is counted.
    #[tokio::test]
    async fn a_host_is_told_of_what_comes_and_goes_before_the_session_is() {
        let [mut near, mut far] = both().await;
        let shape = Shape {
            location: "a/v/r".parse::<Location>().unwrap().id(),
            revision: RevisionId::from_bytes([1; 32]),
            ancestors: Ancestors::default(),
            size: 1,
            deleted: false,
        };
        let said = [
            Message::Batch(Batch { index: 0, entries: 1, len: 5 }),
            chunk(5),
            Message::Offer(vec![shape]),
            Message::DigestEnd,
        ];
        let session = Scripted::of(vec![
            vec![Action::Send(chunk(3)), Action::Notify(Event::PeerHolds(Vec::new()))],
            vec![],
            vec![Action::Send(chunk(4))],
            vec![],
            vec![Action::Send(Message::End), Action::Finished(Summary::default()), Action::Send(chunk(1))],
        ]);
        let heard = session.heard.clone();
        let mut host = Counting::default();
        for message in &said {
            far.feed(message).await.unwrap();
        }
        far.flush().await.unwrap();
        let done = drive(&mut near, session, &mut host).await;
        assert_eq!(done, Ok(Summary::default()));
        assert_eq!(*heard.lock().unwrap(), said);
        assert_eq!(host.told, ["gave 3", "notify", "batch", "room 5", "gave 4", "stage 1"]);
        // All that was said is on its way, and the channel is still open.
        for expected in [chunk(3), chunk(4), Message::End] {
            assert_eq!(far.receive::<Message>().await, Ok(expected));
        }
    }

    #[tokio::test]
    async fn a_host_that_has_enough_ends_the_session() {
        for (enough, message) in
            [("room", chunk(5)), ("stage", Message::Want(vec![1])), ("gave", Message::DigestEnd)]
        {
            let [mut near, mut far] = both().await;
            far.feed(&message).await.unwrap();
            far.flush().await.unwrap();
            let session = Scripted::of(vec![vec![], vec![Action::Send(chunk(1))]]);
            let heard = session.heard.clone();
            let mut host = Counting { enough, ..Counting::default() };
            let done = drive(&mut near, session, &mut host).await;
            assert_eq!(done, Err(DriveError::Overload(Overload::Slow)), "{enough}");
            assert_eq!(heard.lock().unwrap().len(), usize::from(enough == "gave"));
        }
    }

    /// What a session still has to say is said, and the channel closed in order.
    #[tokio::test]
    async fn the_last_words_of_a_session_that_fails_are_heard() {
        let refused = || Action::Send(Message::Refused(Refusal::Stopped));
        let by_message = Scripted { fails: true, ..Scripted::of(vec![vec![], vec![refused()]]) };
        let task = || Action::Perform(Task::Approve(Vec::new()));
        let log = || Action::Notify(Event::Log(Vec::new()));
        let by_answer = Scripted::of(vec![vec![task(), log(), refused()]]);
        let by_task = Scripted::of(vec![vec![task(), log(), refused()]]);
        let by_log = Scripted::of(vec![vec![log(), refused()]]);
        for (session, enough, expected, told) in [
            (by_message, "", SessionError::Local, vec![]),
            (by_answer, "", SessionError::ApiMisuse, vec!["perform", "notify"]),
            (by_task, "perform", SessionError::Limits, vec!["perform", "notify"]),
            (by_log, "log", SessionError::Local, vec!["notify"]),
        ] {
            let mut host = Counting { enough, ..Counting::default() };
            let [mut near, mut far] = both().await;
            far.feed(&Message::DigestEnd).await.unwrap();
            far.flush().await.unwrap();
            let done = drive(&mut near, session, &mut host).await;
            assert_eq!(done, Err(DriveError::Session(expected)));
            assert_eq!(host.told, told);
            assert_eq!(far.receive::<Message>().await, Ok(Message::Refused(Refusal::Stopped)));
            assert_eq!(far.receive::<Message>().await, Err(ChannelError::Closed));
        }
    }
}
