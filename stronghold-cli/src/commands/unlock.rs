//! `unlock` and `lock`: let an agent hold the snapshot's key, and wipe it.

use std::{ffi::OsStr, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use stronghold_vault::LockedKey;

use crate::agent::{Agent, AgentError, HoldTime, Left, Place, all_places, client::lock_at};
use crate::background;
use crate::clock::{length, spoken};
use crate::config::UnlockConfig;
use crate::context::Context;
use crate::error::{Failure, Kind, shown};
use crate::output::counted;

#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// Lock after TIME in any case, such as 15m or 2h; default: 8h, or earlier after 15m without
    /// use.
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    pub(crate) total: Option<Duration>,
    /// Lock after TIME without use.
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub(crate) idle: Option<Duration>,
    /// Stay unlocked until `stronghold lock`, or until the computer sleeps.
    #[arg(long, conflicts_with_all = ["total", "idle"])]
    pub(crate) until_lock: bool,
}

impl UnlockArgs {
    /// Returns how long the options let a key be held.
    fn time(&self, config: &UnlockConfig) -> HoldTime {
        match *self {
            Self { until_lock: true, .. } => HoldTime { idle: None, total: None },
            Self { total: None, idle: None, .. } => {
                let [idle, total] = config.times();
                HoldTime { idle, total }
            }
            Self { total, idle, .. } => HoldTime { idle, total },
        }
    }

    /// Returns whether no option says how long.
    fn is_plain(&self) -> bool {
        self.total.is_none() && self.idle.is_none() && !self.until_lock
    }
}

pub(super) fn unlock(context: &Context, args: &UnlockArgs) -> Result<(), Failure> {
    let path = context.existing()?;
    let place = context.place(&path).map_err(|error| Failure::unknown(&path, &error))?;
    if args.is_plain()
        && let Ok(left) = Agent::at(&place).left()
    {
        return report(context, &place, left, "already unlocked");
    }
    let vault = context.open_without_agent()?;
    let key = vault.file().sealer().slot_key().ok_or_else(|| failed("the snapshot has no key to hold"))?;
    let left = hold(&place, key, args.time(&context.config.unlock))?;
    report(context, &place, left, "unlocked")
}

pub(super) fn lock(context: &Context, all: bool) -> Result<(), Failure> {
    let sockets = match all {
        true => all_places(),
        false => {
            let path = context.path()?;
            let place = context.place(&path).map_err(|error| Failure::unknown(&path, &error))?;
            vec![place.socket]
        }
    };
    let (mut locked, mut unlocked) = (0, None);
    for socket in sockets {
        match lock_at(&socket) {
            Ok(()) => locked += 1,
            Err(AgentError::NotRunning) => {}
            // The others are locked all the same.
            Err(error) => unlocked = Some(format!("{}: {error}", shown(&socket))),
        }
    }
    if let Some(message) = unlocked {
        return Err(Failure::new(Kind::Agent, message).hint("end its process; every other agent is locked"));
    }
    context.output.result(&json!({ "locked": locked }), || {
        vec![match locked {
            0 => "nothing was unlocked".into(),
            1 => "locked".into(),
            _ => format!("locked {}", counted(locked, "snapshot")),
        }]
    })
}

/// Lets the agent hold the key; starts one if none runs, or one of another version.
fn hold(place: &Place, key: &LockedKey, time: HoldTime) -> Result<Left, Failure> {
    let agent = Agent::at(place);
    let held = match agent.hold(key, time) {
        Err(AgentError::NotRunning) => {
            start(place)?;
            agent.hold(key, time)
        }
        Err(AgentError::OtherVersion) => {
            agent.lock().map_err(|error| failed(error.to_string()))?;
            start(place)?;
            agent.hold(key, time)
        }
        held => held,
    };
    held.map_err(|error| failed(error.to_string()))
}

/// Starts an agent without a key and waits until it listens.
fn start(place: &Place) -> Result<(), Failure> {
    let unstarted = |reason: &str| failed(format!("the agent can't be started: {reason}"));
    let snapshot = place.snapshot.as_os_str();
    let args = [OsStr::new("agent"), OsStr::new("--detached"), OsStr::new("--snapshot"), snapshot];
    match background::start(args, b"").map_err(|error| unstarted(&error.to_string()))? {
        Ok(()) => Ok(()),
        // Another one was faster.
        Err(_) if !matches!(Agent::at(place).left(), Err(AgentError::NotRunning)) => Ok(()),
        Err(reason) => Err(unstarted(&reason)),
    }
}

fn report(context: &Context, place: &Place, left: Left, word: &str) -> Result<(), Failure> {
    let seconds = |time: Option<Duration>| time.map_or(Value::Null, |time| time.as_secs().into());
    let object = json!({
        "snapshot": crate::error::path_text(&place.snapshot),
        "idle_seconds": seconds(left.idle),
        "total_seconds": seconds(left.total),
    });
    context.output.result(&object, || vec![format!("{word}: locks {}", described(left))])
}

/// Formats when a key is wiped.
pub(super) fn described(left: Left) -> String {
    let idle = left.idle.map(|time| format!("after {} without use", spoken(time)));
    match (idle, left.total) {
        (None, None) => "with `stronghold lock`, or when the computer sleeps".into(),
        (Some(idle), None) => idle,
        (None, Some(total)) => format!("in {}", spoken(total)),
        (Some(idle), Some(total)) => format!("{idle}, in {} in any case", spoken(total)),
    }
}

fn failed(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Agent, message).hint("`--no-agent` does without one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how_long_a_key_is_held() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        for (total, idle, until_lock, expected) in [
            (None, None, false, (minutes(15), minutes(480))),
            (minutes(20), None, false, (None, minutes(20))),
            (None, minutes(5), false, (minutes(5), None)),
            (minutes(20), minutes(5), false, (minutes(5), minutes(20))),
            (None, None, true, (None, None)),
        ] {
            let args = UnlockArgs { total, idle, until_lock };
            let HoldTime { idle, total } = args.time(&UnlockConfig::default());
            assert_eq!((idle, total), expected);
            assert_eq!(args.is_plain(), expected == (minutes(15), minutes(480)));
        }
    }

    #[test]
    fn it_is_told_when_a_key_is_wiped() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (idle, total, expected) in [
            (None, None, "with `stronghold lock`, or when the computer sleeps"),
            (seconds(60), None, "after 1 min without use"),
            (None, seconds(60), "in 1 min"),
            (seconds(60), seconds(3600), "after 1 min without use, in 1 h in any case"),
        ] {
            assert_eq!(described(Left { idle, total }), expected);
        }
    }
}
