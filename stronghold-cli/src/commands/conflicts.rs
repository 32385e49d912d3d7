//! `conflicts`: prints the records with more than one value.

use serde_json::{Value, json};
use stronghold_snapshot::now;
use stronghold_sync::{Location, RevisionId, Selection, escape_untrusted};
use stronghold_vault::{Damaged, ReadError, RevisionInfo, Stronghold};

use super::history::{device_name, short_id, version, writer};
use crate::clock::time;
use crate::columns;
use crate::context::{Context, selection};
use crate::error::{About, Failure, Kind};
use crate::output::counted;

/// A record in conflict.
pub(super) struct ConflictingRecord {
    pub(super) location: Location,
    /// The heads, oldest first.
    pub(super) heads: Vec<Head>,
}

/// One of the values in conflict.
pub(super) struct Head {
    pub(super) info: RevisionInfo,
    /// Revision that had the value first, if `undo` wrote this one.
    pub(super) origin: RevisionInfo,
    /// Name of the device that wrote it; `here` for this device.
    pub(super) writer: String,
    /// Length of the value, in bytes; `None` for a deletion.
    pub(super) len: Option<usize>,
}

impl ConflictingRecord {
    /// Returns the records of a selection that are in conflict, sorted by name.
    pub(super) fn of(stronghold: &Stronghold, selection: &Selection) -> Result<Vec<Self>, Failure> {
        let found = stronghold.conflicts(selection)?.into_iter();
        found
            .map(|(location, infos)| {
                let written = |info: &RevisionInfo| (info.author, info.time);
                let undone = |info: &RevisionInfo| {
                    infos.iter().filter(|other| written(other) == written(info)).count() > 1
                };
                let head = |info: &RevisionInfo| Head::of(stronghold, &location, info, undone(info));
                let mut heads = infos.iter().map(head).collect::<Result<Vec<_>, ReadError>>()?;
                heads.sort_by_key(|head| (head.info.time, head.origin.time, head.info.revision));
                Ok(Self { heads, location })
            })
            .collect()
    }

    /// Returns the ids of the heads, sorted.
    pub(super) fn revisions(&self) -> Vec<RevisionId> {
        let mut ids: Vec<RevisionId> = self.heads.iter().map(|head| head.info.revision).collect();
        ids.sort_unstable();
        ids
    }

    /// Returns the value that was written last.
    pub(super) fn newest(&self) -> Option<&Head> {
        self.heads.last()
    }

    /// Returns a line for each value, in columns, each after the prefix for its number.
    pub(super) fn lines(&self, prefix: impl Fn(usize) -> String) -> Vec<String> {
        let width = self.heads.iter().map(|head| columns::width(&head.writer)).max().unwrap_or(0);
        let line = |(index, head): (usize, &Head)| {
            let size = head.len.map_or_else(|| "deleted".into(), |len| counted(len as u64, "byte"));
            let newest = if index + 1 == self.heads.len() { "  newest" } else { "" };
            let (time, id) = (time(head.origin.time), short_id(&head.info.revision));
            let writer = columns::padded(&head.writer, width);
            format!("{}{writer}  {time}  {id}  {size:>9}{newest}", prefix(index + 1))
        };
        self.heads.iter().enumerate().map(line).collect()
    }
}

impl Head {
    /// Reads a head. If `undone`, several heads were written at once, as `undo` does: the revision
    /// that had the value before tells who wrote it.
    fn of(
        stronghold: &Stronghold,
        location: &Location,
        info: &RevisionInfo,
        undone: bool,
    ) -> Result<Self, ReadError> {
        let revision = stronghold.read_revision(location, &info.revision)?;
        let mut origin = info.clone();
        let history = if undone { stronghold.history(location)? } else { Vec::new() };
        for older in history.into_iter().filter(|older| !older.head && older.deleted == info.deleted) {
            if stronghold.read_revision(location, &older.revision)?.value == revision.value {
                origin = older;
            }
        }
        let len = (!info.deleted).then_some(revision.value.len());
        Ok(Self { writer: writer(stronghold, &origin), info: info.clone(), origin, len })
    }
}

/// Records that were resolved and those that were not.
#[derive(Default)]
pub(super) struct Resolved {
    /// Records, each with the revision that was kept and the one written for it.
    pub(super) done: Vec<(Location, RevisionId, RevisionId)>,
    /// Records that stay in conflict, with the reasons.
    pub(super) left: Vec<(Location, String)>,
}

pub(super) fn nothing() -> Failure {
    Failure::new(Kind::NotFound, "nothing is in conflict there").hint("see `stronghold conflicts`")
}

impl Resolved {
    /// Writes the content of the revision `kept` over all heads of a record.
    pub(super) fn keep(
        &mut self,
        stronghold: &mut Stronghold,
        at: &Location,
        kept: RevisionId,
    ) -> Result<(), Failure> {
        let written = stronghold.resolve(at, &kept, now()).about(at)?;
        self.done.push((at.clone(), kept, written));
        Ok(())
    }
}

/// Conflicts besides those that a command made.
pub(super) struct Standing {
    new: u64,
    pub(super) standing: u64,
}

impl Standing {
    /// Counts the conflicts besides the `new` ones. On a dry run the new ones are not there yet.
    pub(super) fn beside(stronghold: &Stronghold, new: u64, dry_run: bool) -> Result<Self, Damaged> {
        let all = stronghold.conflicts(&Selection::everything())?.len() as u64;
        Ok(Self { new, standing: if dry_run { all } else { all.saturating_sub(new) } })
    }

    /// Tells a person how to resolve them.
    pub(super) fn tell(&self, context: &Context) {
        let Self { new, standing } = *self;
        if context.output.is_json() || new + standing == 0 {
            return;
        }
        let older = match standing {
            0 => String::new(),
            1 => "1 older conflict stands; ".into(),
            _ => format!("{standing} older conflicts stand; "),
        };
        context.output.note(&format!("hint: {older}`stronghold resolve` goes through the conflicts"));
    }
}

pub(super) fn conflicts(context: &Context, of: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    let found = ConflictingRecord::of(home.stronghold(), &selection)?;
    let names = |device: &_| device_name(home.stronghold(), device);
    let head = |head: &Head| {
        let mut object = version(&head.info, &names);
        object["length"] = head.len.into();
        object
    };
    let object = |record: &ConflictingRecord| {
        let heads: Vec<Value> = record.heads.iter().map(head).collect();
        json!({ "location": record.location.to_string(), "heads": heads })
    };
    let conflicts: Vec<Value> = found.iter().map(object).collect();
    context.output.result(&json!({ "conflicts": conflicts }), || {
        let lines = found.iter().flat_map(|record| {
            let title = escape_untrusted(&record.location.to_string());
            std::iter::once(title).chain(record.lines(|_| "  ".into()))
        });
        lines.collect()
    })?;
    if found.is_empty() {
        context.output.nothing(if of.is_none() { "no conflicts" } else { "no conflicts there" });
    } else if !context.output.is_json() {
        context.output.note("hint: `stronghold resolve` goes through them, or keeps one: see its --help");
    }
    Ok(())
}
