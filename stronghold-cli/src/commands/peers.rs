//! Lists and renames paired devices, and changes their rules.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stronghold_snapshot::{SharedVault, now};
use stronghold_sync::{
    DeviceId, Operation, RedundantRule, Rule, Selection, Timestamp, Withdrawn, escape_untrusted,
};
use stronghold_vault::{Awaited, RETENTION, Stronghold, check_device_name, check_given_name};

use super::mailbox;
use crate::clock::{moment, time};
use crate::context::{Context, selections};
use crate::{
    error::{About, Failure, Kind},
    output::counted,
};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum PeersAction {
    /// Rename a paired device here.
    Rename {
        /// Device's name here, or the beginning of its id.
        peer: String,
        /// New name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// Device's name here, or the beginning of its id.
    pub(crate) peer: String,
    /// One or more of import, browse, pull, push and delete.
    #[arg(required = true, value_name = "OPERATION")]
    pub(crate) operations: Vec<Operation>,
    /// Grant on matching locations; may be repeated.
    #[arg(long, value_name = "GLOB", required = true)]
    pub(crate) select: Vec<String>,
    /// Ask on the terminal of `serve` at each request.
    #[arg(long)]
    pub(crate) ask: bool,
    /// End the grant at TIME: a time span such as 30days, a day such as 2030-01-31, or a time such
    /// as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// Replace older rules of the device for these operations.
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// Device's name here, or the beginning of its id.
    pub(crate) peer: String,
    /// One or more of import, browse, pull, push and delete; default: all.
    #[arg(value_name = "OPERATION")]
    pub(crate) operations: Vec<Operation>,
    /// Withdraw on matching locations; may be repeated; default: everywhere.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Withdraw only from rule NUMBER, as `peers` shows it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rule: Option<u64>,
}

pub(super) fn peers(context: &Context, action: Option<&PeersAction>) -> Result<(), Failure> {
    match action {
        None => list(context),
        Some(PeersAction::Rename { peer, name }) => rename(context, peer, name),
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let home = context.open()?;
    let stronghold = home.stronghold();
    let peers = stronghold.peers().iter();
    let peers: Vec<_> = peers.map(|(device, peer)| (device, peer, stronghold.awaited(device))).collect();
    let described = peers.iter().map(|(device, peer, awaited)| {
        let rules: Vec<Value> = rules_of(stronghold, device).map(rule_object).collect();
        json!({
            "device": device.to_string(),
            "name": peer.name,
            "own_name": peer.own_name,
            "address": peer.address,
            "rules": rules,
            "deletions_waiting": awaited.map_or(0, |awaited| awaited.deletions),
            "waiting_since": awaited.map(|awaited| awaited.since),
        })
    });
    let object = json!({ "peers": described.collect::<Vec<_>>() });
    context.output.result(&object, || {
        let lines = peers.iter().flat_map(|(device, peer, awaited)| {
            let title = format!("{}  {}", escape_untrusted(&peer.name), device.fingerprint());
            std::iter::once(title)
                .chain(rules_of(stronghold, device).map(rule_line))
                .chain(awaited.map(awaited_line))
        });
        lines.collect()
    })?;
    let is_long_ago = |awaited: Awaited| now().since(awaited.since) > RETENTION;
    for (device, peer, _) in peers.iter().filter(|(.., awaited)| awaited.is_some_and(is_long_ago)) {
        context.output.note(&format!(
            "hint: deleted records are kept until {} has synced; if it is gone for good: `stronghold revoke {}`",
            escape_untrusted(&peer.name),
            argument_for(stronghold, device, &peer.name)
        ));
    }
    if peers.is_empty() {
        context.output.nothing("no paired devices: `stronghold pair` adds one");
    }
    Ok(())
}

fn awaited_line(awaited: Awaited) -> String {
    let deletions = counted(awaited.deletions, "deletion");
    format!("       {deletions} to be told to it, the first of {}", time(awaited.since))
}

fn rules_of<'a>(
    stronghold: &'a Stronghold,
    device: &'a DeviceId,
) -> impl Iterator<Item = (u64, &'a Rule, bool)> {
    let policy = stronghold.policy();
    policy.rules_of(device).map(|(number, rule)| (number, rule, policy.has_expired(rule, now())))
}

fn rule_object((number, rule, expired): (u64, &Rule, bool)) -> Value {
    let operations: Vec<&str> = rule.operations.iter().map(|operation| operation.name()).collect();
    let selection: Vec<String> = rule.selection.patterns().iter().map(ToString::to_string).collect();
    json!({
        "number": number,
        "operations": operations,
        "selection": selection,
        "ask": rule.ask,
        "expires": rule.expires,
        "expired": expired,
    })
}

fn rule_line((number, rule, expired): (u64, &Rule, bool)) -> String {
    let operations: Vec<&str> = rule.operations.iter().map(|operation| operation.name()).collect();
    let ask = if rule.ask { ", asking each time" } else { "" };
    let until = rule.expires.map(|expires| format!(", until {}", time(expires))).unwrap_or_default();
    let over = if expired { " (expired)" } else { "" };
    format!(
        "  {number:>3}  {} on {}{ask}{until}{over}",
        operations.join(" "),
        escape_untrusted(&rule.selection.to_string())
    )
}

pub(super) fn grant(context: &Context, args: &GrantArgs) -> Result<(), Failure> {
    let selection = selections(&args.select)?;
    let expires = args.expires.as_deref().map(expiry).transpose()?;
    let mut home = context.open()?;
    let (device, void) = home.update_as::<_, Failure>(|stronghold| {
        let (device, _) = stronghold.peers().find(&args.peer).about(&args.peer)?;
        let policy = stronghold.policy_mut();
        policy.observe_time(now());
        let operations: BTreeSet<Operation> = args.operations.iter().copied().collect();
        if args.replace {
            policy.deny(&device, &operations, None, None)?;
        }
        let rule = Rule { device, operations, selection: selection.clone(), expires, ask: args.ask };
        if policy.has_expired(&rule, now()) {
            return Err(Failure::usage(
                "expiry is in the past for this device, whose clock was later once",
                "nothing was granted; set its clock, and say a later time",
            ));
        }
        let void = policy.redundant_beside(&rule, now());
        match void {
            None => {
                policy.grant(rule);
            }
            // A covered grant is already in effect. With an end it is an error: it would not limit
            // the existing rule.
            Some(RedundantRule::Covered(_)) if expires.is_none() => {}
            Some(void) => return Err(void.into()),
        }
        Ok((device, void))
    })?;
    if let Some(void) = void {
        context.output.note(&format!("note: {void}; no rule was added"));
    }
    let rules: Vec<Value> = rules_of(home.stronghold(), &device).map(rule_object).collect();
    let object = json!({ "device": device.to_string(), "name": home.stronghold().peers().name_of(&device), "rules": rules });
    let may = operation_names(&args.operations);
    let asking = if args.ask { ", asking each time" } else { "" };
    let until = expires.map(|expires| format!(", until {}", time(expires))).unwrap_or_default();
    context.output.result(&object, || {
        let who = described(home.stronghold(), &device);
        vec![format!("{who} may now: {may} on {}{asking}{until}", escape_untrusted(&selection.to_string()))]
    })
}

/// Formats a device as its name here and its fingerprint.
fn described(stronghold: &Stronghold, device: &DeviceId) -> String {
    crate::context::described(&stronghold.peers().name_of(device), device)
}

fn operation_names<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> String {
    operations.into_iter().map(|operation| operation.name()).collect::<Vec<_>>().join(", ")
}

fn rename(context: &Context, peer: &str, name: &str) -> Result<(), Failure> {
    let mut home = context.open()?;
    let (device, old) = home.update_as::<_, Failure>(|stronghold| {
        let (device, _) = stronghold.peers().find(peer).about(&peer)?;
        Ok((device, stronghold.peers_mut().rename(&device, name)?))
    })?;
    let object = json!({ "device": device.to_string(), "name": name, "was": old });
    context.output.result(&object, || {
        vec![format!("{} is now called {}", escape_untrusted(&old), described(home.stronghold(), &device))]
    })
}

pub(super) fn rename_this(context: &Context, name: &str) -> Result<(), Failure> {
    check_own_name(context, name)?;
    let mut home = context.open()?;
    let old = home.update(|stronghold| {
        let old = stronghold.name().to_owned();
        stronghold.rename(name);
        Ok(old)
    })?;
    let device = home.stronghold().identity().device();
    let object = json!({ "device": device.to_string(), "name": name, "was": old });
    context.output.result(&object, || vec![format!("this device is now called {}", escape_untrusted(name))])
}

/// Checks a name for this device. A name that no device could be paired under is refused; one that
/// others show with a suffix is only noted.
pub(super) fn check_own_name(context: &Context, name: &str) -> Result<(), Failure> {
    check_device_name(name)?;
    if let Err(odd) = check_given_name(name) {
        context.output.note(&format!("note: {odd}; other devices will show it with a suffix"));
    }
    Ok(())
}

pub(super) fn deny(context: &Context, args: &DenyArgs) -> Result<(), Failure> {
    let operations: BTreeSet<Operation> = match args.operations.as_slice() {
        [] => Operation::ALL.into(),
        some => some.iter().copied().collect(),
    };
    let selection = match args.select.as_slice() {
        [] => None,
        some => Some(selections(some)?),
    };
    let mut home = context.open()?;
    let (device, back) = home.update_as::<_, Failure>(|stronghold| {
        let (device, _) = stronghold.peers().find(&args.peer).about(&args.peer)?;
        let back = stronghold.policy_mut().deny(&device, &operations, selection.as_ref(), args.rule)?;
        if back == Withdrawn::default() {
            let message =
                format!("no rule lets {} do that; nothing was changed", described(stronghold, &device));
            return Err(Failure::new(Kind::NotFound, message).hint("see `stronghold peers`"));
        }
        Ok((device, back))
    })?;
    let stronghold = home.stronghold();
    let rules: Vec<Value> = rules_of(stronghold, &device).map(rule_object).collect();
    let object = json!({
        "device": device.to_string(),
        "name": stronghold.peers().name_of(&device),
        "removed": back.removed,
        "narrowed": back.narrowed,
        "rules": rules,
    });
    context.output.result(&object, || {
        let who = described(stronghold, &device);
        let left: Vec<String> = rules_of(stronghold, &device).map(rule_line).collect();
        let head = if left.is_empty() { "may do nothing here any more" } else { "may still:" };
        std::iter::once(format!("{who} {head}")).chain(left).collect()
    })
}

/// Adds one rule to the policy, unless `operations` is empty.
pub(super) fn add_rule(
    stronghold: &mut Stronghold,
    device: DeviceId,
    operations: &[Operation],
    selection: &Selection,
    ask: bool,
    expires: Option<Timestamp>,
) {
    if !operations.is_empty() {
        let operations = operations.iter().copied().collect();
        let rule = Rule { device, operations, selection: selection.clone(), expires, ask };
        stronghold.policy_mut().grant(rule);
    }
}

fn expiry(text: &str) -> Result<Timestamp, Failure> {
    let expires = moment(text).ok_or_else(|| {
        Failure::usage(
            format!("invalid time: \"{}\"", escape_untrusted(text)),
            "say a span such as 30days, a day such as 2030-01-31, or a time such as 2030-01-31T12:00:00Z",
        )
    })?;
    if expires <= now() {
        return Err(Failure::usage(
            format!("expiry is in the past: \"{}\"", escape_untrusted(text)),
            "nothing was granted",
        ));
    }
    Ok(expires)
}

pub(super) fn revoke(context: &Context, peer: &str) -> Result<(), Failure> {
    let home = SharedVault::new(context.open()?);
    let device = home.lock().stronghold().peers().find(peer).about(&peer)?.0;
    let name = home.lock().stronghold().peers().name_of(&device);
    let (rules, left) = mailbox::giving_up(&home, device, |stronghold| {
        stronghold.peers().find(peer).about(&peer)?;
        Ok(stronghold.revoke(&device, now()))
    })?;
    let object = json!({ "device": device.to_string(), "name": name, "rules_removed": rules });
    context.output.result(&object, || {
        let who = crate::context::described(&name, &device);
        vec![format!(
            "revoked {who}: {} and its trust are gone; it has to be paired again to come back",
            counted(rules as u64, "rule")
        )]
    })?;
    tell_what_it_keeps(context, home.lock().stronghold(), &device, &name);
    left.tell(context);
    Ok(())
}

/// Names the command that lists the values to change.
fn tell_what_it_keeps(context: &Context, stronghold: &Stronghold, device: &DeviceId, name: &str) {
    // The device is revoked whatever this finds; the named command reports a damaged record.
    if stronghold.disclosed_to(device, &Selection::everything()).next().is_none() {
        return context
            .output
            .note("hint: what it has received, it keeps; no value of now is noted as known to it");
    }
    context.output.note(&format!(
        "hint: what it has received, it keeps; `stronghold list --shared-with {}` shows which values to change",
        argument_for(stronghold, device, name)
    ));
}

/// Returns the text by which a command finds a paired or revoked device: its name, or its id if the
/// name is ambiguous or not a plain word.
fn argument_for(stronghold: &Stronghold, device: &DeviceId, name: &str) -> String {
    let is_word = name.starts_with(char::is_alphanumeric)
        && name.chars().all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
    let finds_it = stronghold.peers().find_including_revoked(name) == Ok(*device);
    if is_word && finds_it { name.to_owned() } else { device.to_string() }
}
