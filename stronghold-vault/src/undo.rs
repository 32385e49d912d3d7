//! Undo and redo of steps, and purging. Undo writes earlier values as ordinary revisions, so they
//! survive a later sync. Purging removes replaced revisions for good.

use stronghold_sync::{Location, LocationId, Scope, Selection, ShortId, Timestamp};

use crate::{
    record::{Damaged, Record},
    revision::Revision,
    steps::{Change, Heads, Step},
    stronghold::{Stronghold, names},
    write::{Content, WriteError},
};

/// The effect of an undo or a redo, done or only predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoReport {
    /// Number of the step.
    pub number: u64,
    /// Start time of the step, in milliseconds since 1970.
    pub time: Timestamp,
    /// Name of the command that made the step.
    pub word: String,
    /// The records to write, ordered by name.
    pub records: Vec<Location>,
    /// The records of the step that stay unchanged, with reasons, ordered by name.
    pub skipped: Vec<(Location, UndoSkipReason)>,
    /// The effect on the rules for peers.
    pub rules: RulesOutcome,
}

/// The reason why a record stays unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoSkipReason {
    /// The record was changed since, outside any step or by a step that is not being undone.
    ChangedSince,
    /// Earlier values of the record were purged.
    Purged,
}

/// The effect of an undo or a redo on the rules for peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesOutcome {
    /// The step did not change the rules.
    Untouched,
    /// The rules are restored.
    PutBack,
    /// The rules were changed since, and stay.
    ChangedSince,
}

/// The direction: undo or redo.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Back,
    Again,
}

impl Direction {
    /// Returns the heads that a record must have to be moved, and the heads it moves to.
    fn of(self, change: &Change) -> (&Heads, &Heads) {
        match self {
            Self::Back => (&change.after, &change.before),
            Self::Again => (&change.before, &change.after),
        }
    }
}

impl Stronghold {
    /// Undoes the newest step that is not undone yet. Returns `None` if there is none. Writes what
    /// was there before the step over the current heads; a record that was changed since is left
    /// alone.
    ///
    /// # Errors
    /// [`WriteError`] if a stored value is damaged or the system returns no random bytes.
    pub fn undo(&mut self, now: Timestamp) -> Result<Option<UndoReport>, WriteError> {
        self.move_step(Direction::Back, now)
    }

    /// Redoes the step that was undone last. Returns `None` if there is none, or if a command has
    /// changed something since.
    ///
    /// # Errors
    /// As [`Stronghold::undo`].
    pub fn redo(&mut self, now: Timestamp) -> Result<Option<UndoReport>, WriteError> {
        self.move_step(Direction::Again, now)
    }

    /// Returns what [`Stronghold::undo`] would do.
    pub fn would_undo(&self) -> Option<UndoReport> {
        self.next(Direction::Back).map(|step| self.preview(step, Direction::Back))
    }

    /// Returns what [`Stronghold::redo`] would do.
    pub fn would_redo(&self) -> Option<UndoReport> {
        self.next(Direction::Again).map(|step| self.preview(step, Direction::Again))
    }

    /// Returns the number of replaced revisions of each record of a selection, ordered by name:
    /// those that [`Stronghold::purge`] would remove. Omits records without replaced revisions.
    pub fn replaced(&self, selection: &Selection) -> Vec<(Location, usize)> {
        let scope = Scope::of(selection.clone());
        let mut replaced: Vec<(Location, usize)> = self
            .records_in(&scope)
            .map(|(_, client, vault, record)| (names(client, vault, record), record.history_len()))
            .filter(|(_, count)| *count > 0)
            .collect();
        replaced.sort();
        replaced
    }

    /// Removes the replaced revisions of a selection and returns their number. Heads stay,
    /// including deletions. Steps that name a removed revision can no longer be undone for that
    /// record.
    pub fn purge(&mut self, selection: &Selection) -> u64 {
        let scope = Scope::of(selection.clone());
        let chosen: Vec<LocationId> = self.records_in(&scope).map(|(id, ..)| id).collect();
        let mut purged = 0;
        for id in chosen {
            let is_first = self.touch_record(&id);
            let record = self.vault_mut(&id).and_then(|vault| vault.records.get_mut(&id.record));
            let forgotten = record.map_or(0, Record::clear_history);
            if forgotten > 0 {
                self.touch_steps().purge(&id);
            } else if is_first {
                self.untouch_record(&id);
            }
            purged += forgotten as u64;
        }
        purged
    }

    fn next(&self, way: Direction) -> Option<&Step> {
        let mut steps = self.steps.list().iter().map(|step| &**step);
        match way {
            Direction::Back => steps.rfind(|step| !step.is_undone()),
            Direction::Again => steps.filter(|step| step.is_undone()).max_by_key(|step| step.undone()),
        }
    }

    fn preview(&self, step: &Step, way: Direction) -> UndoReport {
        let (mut records, mut left) = (Vec::new(), Vec::new());
        for (id, change) in step.changes() {
            let Some(names) = self.names_of(id) else { continue };
            match self.skip_reason(id, change, way) {
                None => records.push(names),
                Some(why) => left.push((names, why)),
            }
        }
        records.sort();
        left.sort_by(|one, other| one.0.cmp(&other.0));
        let rules = step.rules().map_or(RulesOutcome::Untouched, |(before, after)| {
            match self.policy == *(if way == Direction::Back { after } else { before }) {
                true => RulesOutcome::PutBack,
                false => RulesOutcome::ChangedSince,
            }
        });
        let (number, time, word) = (step.number(), step.time(), step.word().to_owned());
        UndoReport { number, time, word, records, skipped: left, rules }
    }

    /// Returns the reason why a record of a step stays unchanged; `None` if it is moved.
    fn skip_reason(&self, id: &LocationId, change: &Change, way: Direction) -> Option<UndoSkipReason> {
        let (from, to) = way.of(change);
        if change.purged {
            return Some(UndoSkipReason::Purged);
        }
        if self.heads_at(id) != *from {
            return Some(UndoSkipReason::ChangedSince);
        }
        let (.., record) = self.record(id)?;
        let held = |short: &ShortId| record.revisions().any(|revision| revision.id.short() == *short);
        (!to.as_slice().iter().all(held)).then_some(UndoSkipReason::Purged)
    }

    fn move_step(&mut self, way: Direction, now: Timestamp) -> Result<Option<UndoReport>, WriteError> {
        // Undo and redo are not steps themselves: they move one.
        self.steps.close();
        let Some(step) = self.next(way).cloned() else { return Ok(None) };
        let moved = self.preview(&step, way);
        for (id, change) in step.changes() {
            if self.skip_reason(id, change, way).is_none() {
                self.write_heads(id, way.of(change).1, now)?;
            }
        }
        if let (RulesOutcome::PutBack, Some((before, after))) = (moved.rules, step.rules()) {
            *self.touch_policy() = if way == Direction::Back { before.clone() } else { after.clone() };
        }
        self.touch_steps().set_undone(step.number(), way == Direction::Back);
        Ok(Some(moved))
    }

    /// Writes the content of these revisions over all heads of a record: a value, the values of a
    /// conflict or, if `heads` is empty, a deletion.
    fn write_heads(&mut self, id: &LocationId, heads: &Heads, now: Timestamp) -> Result<(), WriteError> {
        let Some((client, vault, record)) = self.record(id) else { return Ok(()) };
        let location = names(client, vault, record);
        let keeper = vault.record_cipher(*id, &self.devices);
        let revisions = record.revisions().filter(|held| heads.as_slice().contains(&held.id.short()));
        let opened = revisions.map(|held| keeper.open(held)).collect::<Result<Vec<Revision>, Damaged>>()?;
        let ancestors = self.ancestors_of_next(record);
        let contents = match opened.is_empty() {
            true => vec![Content::Deletion],
            false => opened.iter().map(Content::of).collect(),
        };
        for content in contents {
            self.write_after(&location, content, ancestors.clone(), now)?;
        }
        let written = self.heads_at(id);
        self.touch_steps().rename(id, heads, &written);
        Ok(())
    }
}
