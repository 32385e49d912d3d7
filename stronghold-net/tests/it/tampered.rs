//! Provides a session that breaks the protocol, for the tests of this crate and of the command.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use stronghold_sync::{
    message::Message,
    session::{Action, Session, SessionError, Summary, TaskError, TaskResult},
};

/// A session whose outgoing messages a function replaces; `None` hangs up.
pub(crate) struct Tampered<S, T> {
    session: S,
    /// Number of messages sent, the replaced ones among them.
    pub(crate) sent: Arc<AtomicUsize>,
    tamper: T,
}

impl<S, T> Tampered<S, T> {
    pub(crate) fn new(session: S, tamper: T) -> Self {
        Self { session, sent: Arc::default(), tamper }
    }
}

impl<S: Session, T: FnMut(usize, Message) -> Option<Message> + Send> Session for Tampered<S, T> {
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        self.session.handle_message(message)
    }

    fn handle_result(&mut self, answer: TaskResult) -> Result<(), SessionError> {
        self.session.handle_result(answer)
    }

    fn handle_failure(&mut self, failure: TaskError) -> SessionError {
        self.session.handle_failure(failure)
    }

    fn poll_action(&mut self) -> Option<Action> {
        match self.session.poll_action()? {
            Action::Send(message) => {
                let number = self.sent.fetch_add(1, Relaxed);
                let hang_up = Action::Finished(Summary::default());
                Some((self.tamper)(number, message).map_or(hang_up, Action::Send))
            }
            other => Some(other),
        }
    }
}
