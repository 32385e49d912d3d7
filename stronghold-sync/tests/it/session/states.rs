//! Determines the messages that each state of either role accepts, by passing every kind of message
//! to every state, and compares the result with the table of states in PROTOCOL.md.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Debug,
    fs,
    path::PathBuf,
};

use stronghold_sync::{
    message::Message,
    session::{Initiator, PeerMisbehaved, Push, Responder, Session, SessionError, SessionRequest, Take},
};

use super::{
    acquainted_devices, browse, fetch, import,
    tampered::{guarded, guarded_devices, one_of_each},
    two_devices,
    world::*,
};

/// Role and state, and the kinds of messages that the state accepts.
type Table = BTreeMap<(String, String), BTreeSet<String>>;

/// Returns the name of a message's kind, or of a session's state, from its debug text.
fn name(debug: &str, after: &str) -> String {
    let at = debug.find(after).unwrap() + after.len();
    debug[at..].chars().take_while(|letter| letter.is_alphanumeric()).collect()
}

fn state(session: &impl Debug) -> String {
    name(&format!("{session:?}"), " state: ")
}

fn kind(message: &Message) -> String {
    name(&format!(" {message:?}"), " ")
}

/// Passes in a message and records whether the state accepts its kind, whatever else is wrong with
/// it.
fn note<S: Session + Debug>(table: &mut Table, role: &str, end: &mut End<'_, S>, message: Message) {
    let taken = table.entry((role.into(), state(&end.session))).or_default();
    let kind = kind(&message);
    let handled = end.session.handle_message(message);
    if handled != Err(SessionError::PeerMisbehaved(PeerMisbehaved::OutOfOrder)) && kind != "Refused" {
        taken.insert(kind);
    }
}

/// Runs a session until this many messages have arrived, and passes `instead` to the receiver of
/// the next one, or to both ends once the session is over. Returns `false` if there was no such
/// message.
fn run_up_to(
    devices: impl Fn() -> (Node, Node),
    ask: &SessionRequest,
    lose: &str,
    number: usize,
    instead: &Message,
    table: &mut Table,
) -> bool {
    let (mut a, mut b) = guarded(devices());
    let asked = Responder::new(b.policy.clone(), a.id, b.now, key(0xB), SECRET);
    let (mut a, mut b) = (End::new(Initiator::new(ask.clone()), &mut a), End::new(asked, &mut b));
    let mut flight: VecDeque<(Way, Message)> = VecDeque::new();
    for at in 0.. {
        flight.extend(a.turn().into_iter().map(|message| (Way::ToAsked, message)));
        flight.extend(b.turn().into_iter().map(|message| (Way::ToAsking, message)));
        flight.retain(|(_, message)| kind(message) != lose);
        match flight.pop_front() {
            Some((Way::ToAsked, _)) if at == number => note(table, "responder", &mut b, instead.clone()),
            Some((Way::ToAsking, _)) if at == number => note(table, "initiator", &mut a, instead.clone()),
            Some((Way::ToAsked, message)) if b.handle(message.clone()).is_ok() => {}
            Some((Way::ToAsking, message)) if a.handle(message.clone()).is_ok() => {}
            Some(_) => return false,
            None => {
                note(table, "responder", &mut b, instead.clone());
                note(table, "initiator", &mut a, instead.clone());
                return false;
            }
        }
        if at == number {
            return true;
        }
    }
    unreachable!()
}

/// Passes every kind of message to every state of every session. Losing a list of differing entries
/// forces a mismatch.
fn observed() -> Table {
    let (a, _) = guarded_devices();
    let push = Some(may_give("wallet", &a));
    let sessions = [
        (import("wallet"), "nothing"),
        (browse("wallet"), "nothing"),
        (fetch("wallet"), "nothing"),
        (sync("wallet", true, push.clone()), "nothing"),
        (sync("wallet", true, push.clone()), "Needed"),
        (sync("wallet", false, push), "nothing"),
        (sync_by("wallet", Some(Take::Everything), Push::No, true), "nothing"),
    ];
    let mut table = Table::new();
    for devices in [two_devices, acquainted_devices] {
        for (ask, lose) in &sessions {
            for instead in one_of_each() {
                let mut number = 0;
                while run_up_to(devices, ask, lose, number, &instead, &mut table) {
                    number += 1;
                }
            }
        }
    }
    table
}

/// Parses the table of states in PROTOCOL.md: role, state and accepted messages in the first three
/// columns, names between backticks.
fn documented() -> Table {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../stronghold-net/PROTOCOL.md");
    let text = fs::read_to_string(path).unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<String>>();
    let rows =
        text.lines().filter(|line| line.starts_with("| initiator |") || line.starts_with("| responder |"));
    let mut table = Table::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let state = names(cells[2]).remove(0);
        assert!(table.insert((cells[1].into(), state), names(cells[3]).into_iter().collect()).is_none());
    }
    table
}

#[test]
fn every_state_takes_what_the_protocol_document_says_and_nothing_else() {
    let (observed, documented) = (observed(), documented());
    for (place, taken) in &observed {
        assert_eq!(Some(taken), documented.get(place), "{place:?}");
    }
    assert_eq!(observed.len(), documented.len(), "the document has a state that no session comes to");
}
