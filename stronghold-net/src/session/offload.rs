//! Runs a session's computations off the threads of the runtime.

use stronghold_snapshot::offload;
use stronghold_sync::{
    message::Message,
    session::{Action, Session, SessionError, TaskError, TaskResult},
};
use tokio::runtime::Handle;

/// A session that computes on threads that may block: comparing, planning and listing 100,000
/// entries take longer than a task may hold its thread. Steps that only move bytes run in place.
pub(crate) struct Offloaded<S: Session + Send + 'static>(Option<S>);

impl<S: Session + Send + 'static> Offloaded<S> {
    pub(crate) fn new(session: S) -> Self {
        Self(Some(session))
    }

    /// Handles a message, as [`Session::handle_message`] does.
    pub(crate) async fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        use Message::{Ack, Batch, Chunk, Granted};
        let is_light = matches!(message, Ack(_) | Batch(_) | Chunk(_) | Granted(_));
        self.run(is_light, move |session| session.handle_message(message)).await
    }

    /// Handles a result, as [`Session::handle_result`] does.
    pub(crate) async fn handle_result(&mut self, result: TaskResult) -> Result<(), SessionError> {
        let is_light = matches!(result, TaskResult::Sealed(_) | TaskResult::Imported(_));
        self.run(is_light, move |session| session.handle_result(result)).await
    }

    /// Handles a failure, as [`Session::handle_failure`] does.
    pub(crate) fn handle_failure(&mut self, failure: TaskError) -> SessionError {
        self.0.as_mut().map_or(SessionError::ApiMisuse, |session| session.handle_failure(failure))
    }

    /// Returns the next action, as [`Session::poll_action`] does.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.0.as_mut()?.poll_action()
    }

    async fn run<T: Send + 'static>(
        &mut self,
        is_light: bool,
        work: impl FnOnce(&mut S) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, SessionError> {
        let Some(mut session) = self.0.take() else { return Err(SessionError::ApiMisuse) };
        let (session, done) = if is_light {
            let done = work(&mut session);
            (session, done)
        } else {
            offload(move || {
                let done = work(&mut session);
                (session, done)
            })
            .await
        };
        self.0 = Some(session);
        done
    }
}

impl<S: Session + Send + 'static> Drop for Offloaded<S> {
    /// Drops the session on a thread that may block: its lists are long.
    fn drop(&mut self) {
        if let (Some(session), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(session)));
        }
    }
}
