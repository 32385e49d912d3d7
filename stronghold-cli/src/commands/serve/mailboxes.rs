//! Looks into the mailboxes of paired devices, every minute.

use std::{collections::BTreeMap, sync::mpsc::SyncSender, time::Duration};

use serde_json::{Value, json};
use stronghold_net::{
    SessionHandler, SharedVault,
    mailbox::{Deferred, Exchange, ExchangeError, Exchanged, open_store},
};
use stronghold_sync::{DeviceId, escape_untrusted};
use tokio::time::{MissedTickBehavior, interval};

use crate::commands::mailbox::{all, oddity, word};
use crate::error::Failure;

/// An event as printed: an object for `--json`, and a line for people.
pub(super) type RenderedEvent = (Value, String);

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(60);

/// Exchanges with each device that has a mailbox, now and every minute, until it is dropped. Never
/// with `--once`, which is about a session.
pub(super) async fn look(home: SharedVault, print: SyncSender<RenderedEvent>, once: bool) {
    if once {
        return std::future::pending().await;
    }
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: BTreeMap<DeviceId, Vec<String>> = BTreeMap::new();
    let mut deferred: BTreeMap<DeviceId, Deferred> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let mailboxes = home.call(|vault| vault.refresh().map(all)).await.unwrap_or_default();
        for (device, name) in mailboxes {
            let deferred = deferred.entry(device).or_default();
            let events = events(&device, &name, exchange(&home, device, deferred).await);
            let lines = events.iter().map(|(_, line)| line.clone()).collect();
            let before = told.insert(device, lines).unwrap_or_default();
            // Of what stays as it was at the last look, nothing is told again; nor, while the
            // reader of stdout stalls, is anything.
            let is_new =
                |(object, line): &RenderedEvent| object["mailbox"] == "done" || !before.contains(line);
            events.into_iter().filter(is_new).for_each(|event| _ = print.try_send(event));
        }
    }
}

/// Exchanges with one device. Nobody is asked: what a person must decide waits.
async fn exchange(
    home: &SharedVault,
    device: DeviceId,
    deferred: &mut Deferred,
) -> Result<Exchanged, ExchangeError> {
    let store = open_store(home, device).await?;
    let mut exchange = Exchange::new(home, &*store, device).await?.with_deferred(deferred);
    exchange.run(&mut Nobody).await?;
    Ok(exchange.into_done())
}

/// A handler that refuses what a person would have to decide.
struct Nobody;

impl SessionHandler for Nobody {}

/// Returns an exchange as events: what it did, what is refused, what is odd, or why it failed.
fn events(device: &DeviceId, name: &str, done: Result<Exchanged, ExchangeError>) -> Vec<RenderedEvent> {
    let event = |state: &str| json!({ "mailbox": state, "device": device.to_string(), "name": name });
    let shown = escape_untrusted(name);
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            let mut object = event("failed");
            let reason = Failure::from(error).message;
            object["reason"] = reason.clone().into();
            return vec![(object, format!("{shown}: {reason}"))];
        }
    };
    let mut events = Vec::new();
    if done.letters_taken + done.letters_sent > 0 {
        let (sum, mut object) = (&done.outcome.summary, event("done"));
        object["received"] = sum.received.into();
        object["sent"] = sum.sent.into();
        object["deleted"] = sum.deleted.into();
        object["conflicts"] = sum.conflicts.into();
        let line = format!("{shown}: by mailbox: received {}, sent {}", sum.received, sum.sent);
        events.push((object, line));
    }
    events.extend(refused(&event("refused"), &shown, &done));
    let mut odd: Vec<(&str, String)> =
        done.odd.iter().map(|odd| (word(*odd), oddity(*odd, &shown))).collect();
    if let Some(losses) = done.unconfirmed {
        let what =
            format!("a letter of {shown} waits: it would delete or empty {losses}; see `sync --mailbox`");
        odd.push(("unconfirmed", what));
    }
    if !odd.is_empty() {
        let mut object = event("odd");
        object["odd"] = odd.iter().map(|(word, _)| *word).collect();
        let texts: Vec<String> = odd.into_iter().map(|(_, text)| text).collect();
        events.push((object, texts.join("\n")));
    }
    events
}

/// Returns the records of letters that were refused, by name.
fn refused(event: &Value, shown: &str, done: &Exchanged) -> Option<RenderedEvent> {
    let plan = &done.outcome.plan;
    let names = plan.not_taken.iter().filter_map(|left| plan.names.get(&left.location));
    let names: Vec<String> = names.map(ToString::to_string).collect();
    let (first, count) = (names.first()?, plan.not_taken.len());
    let mut object = event.clone();
    object["not_taken"] = count.into();
    object["not_taken_names"] = names.iter().map(String::as_str).collect();
    let more = if count > 1 { ", ..." } else { "" };
    let first = escape_untrusted(first);
    Some((
        object,
        format!("{shown}: not taken, no rule here lets it, or a limit is met ({count}): {first}{more}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_that_did_nothing_is_no_event_and_a_failure_is_one() {
        let device = DeviceId::from_bytes([1; 32]);
        assert_eq!(events(&device, "phone", Ok(Exchanged::default())), []);
        let failed = events(&device, "phone", Err(ExchangeError::NoMailbox));
        let object = json!({
            "mailbox": "failed", "device": device.to_string(), "name": "phone",
            "reason": "there is no mailbox for it",
        });
        assert_eq!(failed, [(object, "phone: there is no mailbox for it".to_owned())]);
    }
}
