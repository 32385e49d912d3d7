//! `resolve`: ends conflicts, by a rule or one by one with a person at the terminal.

use clap::Args;
use serde_json::{Value, json};
use stronghold_snapshot::VaultFile;
use stronghold_sync::{DeviceId, Location, RevisionId, Selection, escape_untrusted};
use stronghold_vault::Stronghold;

use super::changes::{self, Changes};
use super::conflicts::{ConflictingRecord, Head, Resolved, nothing};
use super::walk;
use crate::context::{Context, location, revision, selections};
use crate::error::{About, Failure, Kind};
use crate::{output::counted, terminal};

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// Record to resolve, as CLIENT/VAULT/RECORD; default: ask about each record in conflict.
    location: Option<String>,
    /// Keep the newest value, the one that was written `here`, that of the device PEER, or that of
    /// a revision (REV): `newest`, `here`, PEER or REV.
    #[arg(long, value_name = "WHICH")]
    keep: Option<String>,
    /// Resolve all conflicts.
    #[arg(long, conflicts_with = "location")]
    all: bool,
    /// Resolve conflicts of matching locations; may be repeated.
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["location", "all"])]
    select: Vec<String>,
    /// Show what would be done, and change nothing.
    #[arg(short = 'n', long, requires = "keep")]
    dry_run: bool,
}

/// Rule that chooses one of the values in conflict.
enum Keep {
    Newest,
    Here,
    Peer(DeviceId),
    Revision(RevisionId),
}

pub(super) fn resolve(context: &Context, args: &ResolveArgs) -> Result<(), Failure> {
    let at = args.location.as_deref().map(location).transpose()?;
    let is_chosen = at.is_some() || args.all || !args.select.is_empty();
    let selection = match &at {
        Some(at) => Selection::of_locations(std::slice::from_ref(at)),
        None => selections(&args.select)?,
    };
    match &args.keep {
        Some(_) if !is_chosen => {
            Err(Failure::usage("no record is named", "name one, or say --all or --select GLOB"))
        }
        None if !terminal::exists() => Err(Failure::usage(
            "there is no terminal to ask on",
            "say which to keep: --keep newest, here, a device or a revision; see `stronghold conflicts`",
        )),
        None => {
            let mut home = context.open()?;
            check(home.stronghold(), at.as_ref())?;
            let (resolved, changes) = walk::walk(context, &mut home, &selection)?;
            report(context, &resolved, &changes, false)
        }
        Some(text) => {
            let mut home = context.open()?;
            let keep = Keep::parse(&home, at.as_ref(), text)?;
            if !matches!(keep, Keep::Revision(_)) {
                check(home.stronghold(), at.as_ref())?;
            }
            let by_rule = |stronghold: &mut Stronghold| by_rule(stronghold, &selection, &keep, at.as_ref());
            let (resolved, changes) = changes::apply(&mut home, args.dry_run, by_rule)?;
            report(context, &resolved, &changes, args.dry_run)
        }
    }
}

/// Checks that a record that the person named is in conflict.
fn check(stronghold: &Stronghold, at: Option<&Location>) -> Result<(), Failure> {
    let Some(at) = at else { return Ok(()) };
    crate::nearest::found(stronghold, at, stronghold.history(at))?;
    if stronghold.is_conflict(&at.id())? {
        return Ok(());
    }
    let message = format!("{} is not in conflict; nothing was changed", escape_untrusted(&at.to_string()));
    Err(Failure::new(Kind::NotFound, message).hint("see `stronghold conflicts`"))
}

impl Keep {
    fn parse(home: &VaultFile, at: Option<&Location>, text: &str) -> Result<Self, Failure> {
        match text {
            "newest" => return Ok(Self::Newest),
            "here" => return Ok(Self::Here),
            _ => {}
        }
        let is_id = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let of_record = at.filter(|_| is_id).map(|at| revision(home, at, text).map(Self::Revision));
        let peer = home.stronghold().peers().find_including_revoked(text).about(&text).map(Self::Peer);
        match of_record {
            Some(Ok(of_record)) => Ok(of_record),
            Some(Err(failure)) => peer.map_err(|_| failure),
            None => peer,
        }
    }

    /// Returns the value that the rule chooses.
    ///
    /// # Errors
    /// The reason why it chooses none.
    fn choose(&self, stronghold: &Stronghold, record: &ConflictingRecord) -> Result<RevisionId, String> {
        let own = stronghold.identity().device();
        let of = |is_it: &dyn Fn(&Head) -> bool, name: &str| {
            let found: Vec<&Head> = record.heads.iter().filter(|head| is_it(head)).collect();
            match found[..] {
                [head] => Ok(head.info.revision),
                [] => Err(format!("none of its values is of {name}")),
                _ => Err(format!("several of its values are of {name}")),
            }
        };
        match self {
            Self::Newest => {
                record.newest().map(|head| head.info.revision).ok_or_else(|| "it has no value".into())
            }
            Self::Here => {
                of(&|head| head.origin.author == Some(own) && head.origin.via.is_none(), "this device")
            }
            Self::Peer(device) => {
                let name = escape_untrusted(&stronghold.peers().name_of(device));
                let wrote = |head: &Head| head.origin.author == Some(*device);
                match record.heads.iter().any(wrote) {
                    true => of(&wrote, &name),
                    false => of(&|head| head.origin.via == Some(*device), &name),
                }
            }
            Self::Revision(revision) => Ok(*revision),
        }
    }
}

fn by_rule(
    stronghold: &mut Stronghold,
    selection: &Selection,
    keep: &Keep,
    at: Option<&Location>,
) -> Result<Resolved, Failure> {
    let mut resolved = Resolved::default();
    // A revision is kept whether or not the record is in conflict.
    if let (Keep::Revision(kept), Some(at)) = (keep, at) {
        resolved.keep(stronghold, at, *kept)?;
        return Ok(resolved);
    }
    for record in ConflictingRecord::of(stronghold, selection)? {
        match keep.choose(stronghold, &record) {
            Ok(kept) => resolved.keep(stronghold, &record.location, kept)?,
            Err(why) => resolved.left.push((record.location, why)),
        }
    }
    if resolved.done.is_empty() && resolved.left.is_empty() {
        return Err(nothing());
    }
    match (&resolved.done[..], resolved.left.first()) {
        // Nothing is written if no value could be chosen.
        ([], Some(_)) => Err(stay(&resolved.left, "nothing was changed")),
        _ => Ok(resolved),
    }
}

fn report(context: &Context, resolved: &Resolved, changes: &Changes, dry_run: bool) -> Result<(), Failure> {
    let done = |(at, kept, written): &(Location, RevisionId, RevisionId)| json!({ "location": at.to_string(), "kept": kept.to_string(), "revision": written.to_string() });
    let left = |(at, why): &(Location, String)| json!({ "location": at.to_string(), "why": why });
    let object = json!({
        "resolved": resolved.done.iter().map(done).collect::<Vec<Value>>(),
        "left": resolved.left.iter().map(left).collect::<Vec<Value>>(),
        "records": changes.object(),
    });
    let would = if dry_run { "would resolve" } else { "resolved" };
    let title = format!("{would} {}", counted(resolved.done.len() as u64, "record"));
    context
        .output
        .result(&object, || std::iter::once(title).chain(changes.lines(context.output)).collect())?;
    if resolved.left.is_empty() { Ok(()) } else { Err(stay(&resolved.left, "the others are resolved")) }
}

/// Returns the failure that names records that stay in conflict.
fn stay(left: &[(Location, String)], others: &str) -> Failure {
    let line = |(at, why): &(Location, String)| format!("{}: {why}", escape_untrusted(&at.to_string()));
    let shown: Vec<String> = left.iter().take(3).map(line).collect();
    let more = if left.len() > shown.len() { ", ..." } else { "" };
    let stay = if left.len() == 1 { "stays" } else { "stay" };
    let count = counted(left.len() as u64, "record");
    let message = format!("{count} {stay} in conflict; {others} ({}{more})", shown.join(", "));
    Failure::new(Kind::Conflict, message).hint("`stronghold resolve` asks about each of them")
}
