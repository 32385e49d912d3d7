//! The two ends of a session over a link: the one driver of all tests that hold a session in one
//! process. The vault's model and the fuzz target include this file too.

use std::collections::VecDeque;

use stronghold_sync::{
    message::Message,
    session::{Action, Event, Initiator, Responder, Session, SessionError, Summary, TaskError, TaskResult},
};

/// The result of a task, if it was one.
pub(crate) type Performed = Result<Option<TaskResult>, TaskError>;

/// The host of one end.
pub(crate) trait Host {
    /// Called before a session.
    fn begin(&mut self) {}

    /// Carries out one action. Messages to send are on the link already.
    fn act(&mut self, action: Action) -> Performed;
}

/// One end: a session and its host.
pub(crate) struct End<'a, S, H> {
    pub(crate) session: S,
    pub(crate) node: &'a mut H,
    pub(crate) result: Option<Result<Summary, SessionError>>,
    outgoing: Vec<Message>,
}

impl<'a, S: Session, H: Host> End<'a, S, H> {
    pub(crate) fn new(session: S, node: &'a mut H) -> Self {
        node.begin();
        Self { session, node, result: None, outgoing: Vec::new() }
    }

    /// Polls and acts until nothing is left; returns the messages to send.
    pub(crate) fn turn(&mut self) -> Vec<Message> {
        while let Some(action) = self.session.poll_action() {
            if let Action::Finished(summary) = &action {
                self.result = Some(Ok(*summary));
            }
            let handled = match self.act(action) {
                Ok(None) => Ok(()),
                Ok(Some(result)) => self.session.handle_result(result),
                Err(failure) => Err(self.session.handle_failure(failure)),
            };
            if let Err(error) = handled {
                self.failed(error);
            }
        }
        std::mem::take(&mut self.outgoing)
    }

    pub(crate) fn handle(&mut self, message: Message) -> Result<(), SessionError> {
        let handled = self.session.handle_message(message);
        if let Err(error) = handled
            && self.result.is_none()
        {
            self.failed(error);
        }
        handled
    }

    fn act(&mut self, action: Action) -> Performed {
        if let Action::Send(message) = &action {
            self.outgoing.push(message.clone());
        }
        self.node.act(action)
    }

    /// Stores the error, and checks that every later call returns it again.
    fn failed(&mut self, error: SessionError) {
        self.result = Some(Err(error));
        while let Some(action) = self.session.poll_action() {
            let is_last = matches!(action, Action::Send(Message::Refused(_)) | Action::Notify(Event::Log(_)));
            assert!(is_last, "{action:?}");
            let _ = self.act(action);
        }
        assert_eq!(self.session.handle_result(TaskResult::Approved), Err(error));
        assert_eq!(self.session.handle_failure(TaskError::Limits), error);
        assert_eq!(self.session.handle_message(Message::End), Err(error));
        assert_eq!(self.session.handle_message(Message::DigestEnd), Err(error));
        assert_eq!(self.session.poll_action(), None);
    }
}

/// The outcome at both ends, the initiator's first; `None` for one that still waits.
pub(crate) type Outcome = (Option<Result<Summary, SessionError>>, Option<Result<Summary, SessionError>>);

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToAsked,
    ToAsking,
}

/// Runs a session of these two ends; `tamper` sees each message in flight, with its number, and
/// returns what arrives.
pub(crate) fn drive<H: Host>(
    mut a: End<'_, Initiator, H>,
    mut b: End<'_, Responder, H>,
    mut tamper: impl FnMut(Way, usize, Message) -> Vec<Message>,
) -> Outcome {
    let mut number = 0;
    let mut flight: VecDeque<(Way, Message)> = VecDeque::new();
    loop {
        for (way, sent) in [(Way::ToAsked, a.turn()), (Way::ToAsking, b.turn())] {
            for message in sent {
                flight.extend(tamper(way, number, message).into_iter().map(|message| (way, message)));
                number += 1;
            }
        }
        match flight.pop_front() {
            Some((Way::ToAsked, message)) if b.result.is_none() => drop(b.handle(message)),
            Some((Way::ToAsking, message)) if a.result.is_none() => drop(a.handle(message)),
            Some(_) => {}
            None => return (a.result, b.result),
        }
    }
}
