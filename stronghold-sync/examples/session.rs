//! Runs a browse from the request to the listing, with both sides in one process: no network, no
//! files, no clock.
//!
//! Run it with `cargo run -p stronghold-sync --example session`.

use std::{error::Error, io::Write};

use stronghold_sync::{
    DeviceId, Location, Operation, Policy, RevisionId, Rule, Selection, Timestamp,
    message::{Listing, RecipientKey},
    session::{Action, Event, Initiator, Responder, Session, SessionRequest, Task, TaskResult},
};

fn main() -> Result<(), Box<dyn Error>> {
    // The responder lets one device list one vault.
    let laptop = DeviceId::from_bytes([1; 32]);
    let selection: Selection = "wallet/web".parse()?;
    let mut policy = Policy::default();
    let operations = [Operation::Browse].into();
    policy.grant(Rule { device: laptop, operations, selection, expires: None, ask: false });
    let held: Vec<Location> =
        ["wallet/web/mail", "wallet/keys/root"].map(str::parse).into_iter().collect::<Result<_, _>>()?;

    // The initiator asks for everything, and receives what it may list.
    let mut asking = Initiator::new(SessionRequest::Browse { selection: Selection::everything() });
    let mut asked =
        Responder::new(policy, laptop, Timestamp::default(), RecipientKey::new(vec![0; 32])?, [7; 32]);
    let mut found = Vec::new();
    loop {
        let to_asked = turn(&mut asking, &held, &mut found)?;
        to_asked.into_iter().try_for_each(|message| asked.handle_message(message))?;
        let to_asking = turn(&mut asked, &held, &mut found)?;
        if to_asking.is_empty() {
            break;
        }
        to_asking.into_iter().try_for_each(|message| asking.handle_message(message))?;
    }
    let mut out = std::io::stdout();
    for entry in &found {
        writeln!(out, "{} ({} bytes)", entry.location, entry.size)?;
    }
    assert_eq!(found.len(), 1, "the other vault is not shown");
    Ok(())
}

/// Carries out a session's actions, as a host would; returns the messages to send.
fn turn(
    session: &mut impl Session,
    held: &[Location],
    found: &mut Vec<Listing>,
) -> Result<Vec<stronghold_sync::message::Message>, Box<dyn Error>> {
    let mut messages = Vec::new();
    while let Some(action) = session.poll_action() {
        match action {
            Action::Send(message) => messages.push(message),
            Action::Perform(Task::List(grant)) => {
                let listed =
                    held.iter().filter(|location| grant.scope().covers(location)).map(listing).collect();
                session.handle_result(TaskResult::Listing(listed))?;
            }
            Action::Notify(Event::Listing(listing)) => *found = listing,
            Action::Notify(_) | Action::Finished(_) => {}
            other => return Err(format!("not needed for browsing: {other:?}").into()),
        }
    }
    Ok(messages)
}

fn listing(location: &Location) -> Listing {
    let revision = RevisionId::from_bytes([7; 32]);
    Listing {
        location: location.clone(),
        revision,
        size: 64,
        modified: Timestamp::default(),
        conflict: false,
    }
}
