//! Runs a whole session, both ends over one link, under everything that a peer, a network or a
//! faulty host can do: messages lost, duplicated, reordered, reflected, replayed, altered or
//! forged; results that are failures or unsolicited. In every case: no panic, an error persists,
//! nothing unexpected is taken, and nothing is disclosed without a rule.
//!
//! After the listed operations both ends are honest, so an empty list is an honest session.

#![cfg_attr(fuzzing, no_main)]

mod checks;
mod input;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../../tests/it/session/world.rs"]
mod world;

use std::collections::VecDeque;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_sync::{
    Shape,
    message::Message,
    session::{Initiator, Responder, Session, SessionError, Summary, TaskError, TaskResult},
};

use self::{
    input::{Input, Op, To},
    world::{End, Node, SECRET, key},
};

fuzz_target!(|input: Input| {
    let (mut a, mut b) = (input.asking_node(), input.asked_node());
    let ask = input.ask(&a);
    let (a_before, b_before) = (a.clone(), b.clone());
    let link = run(ask.clone(), &mut a, &mut b, &input.ops);
    checks::nothing_taken(&ask, &a_before, &a, &b_before, &b, &link);
    checks::nothing_told(&a, &b);
    checks::logged_before_told(&b);
    if input.ops.iter().all(Op::is_honest) {
        checks::nothing_missing(&ask, &a_before, &a, &b_before, &b, &link);
        checks::honest(&ask, a, b, &link);
    }
});

/// The messages on the link, and the outcome at both ends.
pub(crate) struct Link {
    to_asked: VecDeque<Message>,
    to_asking: VecDeque<Message>,
    /// All messages sent so far.
    history: Vec<Message>,
    /// Shapes that reached each end.
    pub(crate) announced_to_asking: Vec<Shape>,
    pub(crate) announced_to_asked: Vec<Shape>,
    pub(crate) asking: Option<Result<Summary, SessionError>>,
    pub(crate) asked: Option<Result<Summary, SessionError>>,
}

pub(crate) fn run(
    ask: stronghold_sync::session::SessionRequest,
    a: &mut Node,
    b: &mut Node,
    ops: &[Op],
) -> Link {
    let asked = Responder::new(b.policy.clone(), a.id, b.now, key(0xB), SECRET);
    let (mut asking, mut asked) = (Driven::new(Initiator::new(ask), a), Driven::new(asked, b));
    let mut link = Link {
        to_asked: VecDeque::new(),
        to_asking: VecDeque::new(),
        history: Vec::new(),
        announced_to_asking: Vec::new(),
        announced_to_asked: Vec::new(),
        asking: None,
        asked: None,
    };
    link.turn(&mut asking, &mut asked);
    for op in ops.iter().take(MOST_OPS) {
        link.act(op, &mut asking, &mut asked);
    }
    link.turn(&mut asking, &mut asked);
    for _ in 0..MOST_MESSAGES {
        if let Some(message) = link.to_asked.pop_front() {
            link.deliver_to_asked(message, &mut asked);
        } else if let Some(message) = link.to_asking.pop_front() {
            link.deliver_to_asking(message, &mut asking);
        } else {
            (link.asking, link.asked) = (asking.end.result, asked.end.result);
            return link;
        }
        link.turn(&mut asking, &mut asked);
    }
    panic!("two ends that talk for ever");
}

impl Link {
    /// Lets both ends carry out their actions, and queues the messages that they send.
    fn turn(&mut self, asking: &mut Driven<'_, Initiator>, asked: &mut Driven<'_, Responder>) {
        let (from_asking, from_asked) = (asking.turn(), asked.turn());
        self.history.extend(from_asking.iter().chain(&from_asked).cloned());
        self.to_asked.extend(from_asking);
        self.to_asking.extend(from_asked);
    }

    fn act(&mut self, op: &Op, asking: &mut Driven<'_, Initiator>, asked: &mut Driven<'_, Responder>) {
        let mut hasty = false;
        match op {
            Op::Forward(to) => {
                if let Some(message) = self.queue(*to).pop_front() {
                    self.deliver(*to, message, asking, asked);
                }
            }
            Op::Hasty(to) => {
                hasty = true;
                if let Some(message) = self.queue(*to).pop_front() {
                    self.deliver(*to, message, asking, asked);
                }
            }
            Op::Lose(to) => drop(self.queue(*to).pop_front()),
            Op::Twice(to) => {
                let queue = self.queue(*to);
                queue.extend(queue.front().cloned());
                queue.rotate_right(usize::from(!queue.is_empty()));
            }
            Op::Later(to) => {
                let queue = self.queue(*to);
                if queue.len() > 1 {
                    queue.swap(0, 1);
                }
            }
            Op::Reflect(to) => {
                if let Some(message) = self.queue(*to).front().cloned() {
                    self.deliver(to.other(), message, asking, asked);
                }
            }
            Op::Replay(to, number) => {
                if !self.history.is_empty() {
                    let message = self.history[usize::from(*number) % self.history.len()].clone();
                    self.deliver(*to, message, asking, asked);
                }
            }
            Op::Alter(to, at, mask) => {
                if let Some(message) = self.queue(*to).front_mut()
                    && let Some(altered) = altered(message, *at, *mask)
                {
                    *message = altered;
                }
            }
            Op::Inject(to, made_up) => {
                let known = known(asking.end.node, asked.end.node);
                for message in made_up.messages(&known) {
                    self.deliver(*to, message, asking, asked);
                }
            }
            Op::Sabotage(To::Asking, ahead, answer) => asking.sabotage(*ahead, answer.answer()),
            Op::Sabotage(To::Asked, ahead, answer) => asked.sabotage(*ahead, answer.answer()),
            Op::Unasked(To::Asking, answer) => asking.answer(answer.answer()),
            Op::Unasked(To::Asked, answer) => asked.answer(answer.answer()),
        }
        if !hasty {
            self.turn(asking, asked);
        }
    }

    fn queue(&mut self, to: To) -> &mut VecDeque<Message> {
        match to {
            To::Asking => &mut self.to_asking,
            To::Asked => &mut self.to_asked,
        }
    }

    fn deliver(
        &mut self,
        to: To,
        message: Message,
        asking: &mut Driven<'_, Initiator>,
        asked: &mut Driven<'_, Responder>,
    ) {
        match to {
            To::Asking => self.deliver_to_asking(message, asking),
            To::Asked => self.deliver_to_asked(message, asked),
        }
    }

    fn deliver_to_asking(&mut self, message: Message, asking: &mut Driven<'_, Initiator>) {
        if let Message::Missing(shapes) = &message {
            self.announced_to_asking.extend(shapes.iter().cloned());
        }
        asking.handle(message);
    }

    fn deliver_to_asked(&mut self, message: Message, asked: &mut Driven<'_, Responder>) {
        if let Message::Push(shapes) = &message {
            self.announced_to_asked.extend(shapes.iter().cloned());
        }
        asked.handle(message);
    }
}

/// One end, and its first error.
struct Driven<'a, S> {
    end: End<'a, S>,
    error: Option<SessionError>,
}

impl<'a, S: Session> Driven<'a, S> {
    fn new(session: S, node: &'a mut Node) -> Self {
        Self { end: End::new(session, node), error: None }
    }

    fn turn(&mut self) -> Vec<Message> {
        let sent = self.end.turn();
        if let Some(Err(error)) = self.end.result {
            self.keep(Err(error));
        }
        sent
    }

    fn handle(&mut self, message: Message) {
        let result = self.end.handle(message);
        self.keep(result);
    }

    /// Passes in a result that is unsolicited, or of another action.
    fn answer(&mut self, answer: Result<TaskResult, TaskError>) {
        let result = match answer {
            Ok(result) => self.end.session.handle_result(result),
            Err(failure) => Err(self.end.session.handle_failure(failure)),
        };
        self.keep(result);
        if let (Err(error), None) = (result, self.end.result) {
            self.end.result = Some(Err(error));
        }
    }

    fn sabotage(&mut self, ahead: u8, answer: Result<TaskResult, TaskError>) {
        self.end.node.sabotage = Some((self.end.node.actions + usize::from(ahead % 4), answer.map(Some)));
    }

    /// Checks that after an error every later call returns the same one.
    fn keep(&mut self, result: Result<(), SessionError>) {
        match (self.error, result) {
            (None, result) => self.error = result.err(),
            (Some(first), result) => assert_eq!(result, Err(first)),
        }
    }
}

/// Returns every shape of both ends, as material for forged messages.
fn known(a: &Node, b: &Node) -> Vec<(stronghold_sync::Location, Shape)> {
    let of = |node: &Node| -> Vec<(stronghold_sync::Location, Shape)> {
        let records = node.records.values();
        records.flat_map(|(at, heads)| heads.iter().map(|head| (at.clone(), head.clone()))).collect()
    };
    let mut known = of(a);
    known.extend(of(b));
    known.sort_by_key(|(_, shape)| shape.entry());
    known.dedup_by_key(|(_, shape)| shape.entry());
    known
}

/// Returns the message with one byte of its encoding changed, if the result is still a message.
fn altered(message: &Message, at: u16, mask: u8) -> Option<Message> {
    let mut bytes = rmp_serde::to_vec(message).expect("a message has an encoding");
    let at = usize::from(at) % bytes.len();
    bytes[at] ^= mask;
    rmp_serde::from_slice(&bytes).ok()
}

const MOST_OPS: usize = 64;
const MOST_MESSAGES: usize = 100_000;
