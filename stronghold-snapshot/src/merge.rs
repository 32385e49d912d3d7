//! Local sync: from another snapshot, all of it or a selection, under its own or other names.

use std::collections::BTreeSet;

use stronghold_sync::{
    EntryId, Grant, LocationId, Mapping, OnConflict, Plan, PlanOptions, Scope, Selection, Shape, plan,
};
use stronghold_vault::{ExportError, ImportError, RejectReason, Stronghold, WriteError};
use thiserror::Error;

/// What to merge, and how.
#[derive(Debug, Clone)]
pub struct Merge {
    /// What to take, by its names in the other snapshot.
    pub selection: Selection,
    /// Under which names it arrives.
    pub mapping: Mapping,
    /// What becomes of conflicts.
    pub on_conflict: OnConflict,
    /// Whether a person confirmed that many records will be deleted.
    pub deletions_confirmed: bool,
    /// The time, in milliseconds since 1970.
    pub now: u64,
}

/// What a merge did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Revisions taken.
    pub received: u64,
    /// Records deleted.
    pub deleted: u64,
    /// Records in conflict now, of those taken.
    pub conflicts: u64,
    /// Records that were the same.
    pub unchanged: u64,
}

/// Why nothing was merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// It would delete, empty or shorten more than a tenth of the records: a person must confirm.
    #[error("the merge would delete or empty {deleted} of {of} records")]
    Deletions {
        /// Records that would be deleted, or whose value would be empty, or less than half as large.
        deleted: u64,
        /// Records that are there.
        of: u64,
    },
    /// The other side could not be read.
    #[error("the other snapshot can't be read: {0}")]
    Export(#[from] ExportError),
    /// This side could not take it.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A conflict could not be settled.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Merge {
    /// What [`run`](Self::run) would do.
    #[must_use]
    pub fn plan(&self, into: &Stronghold, from: &Stronghold) -> Plan {
        let scope = Scope::of(self.selection.clone());
        let theirs = from.shapes(&scope, &self.mapping);
        let own = if self.mapping.is_empty() {
            into.shapes(&scope, &Mapping::default())
        } else {
            // The selection is in the other side's names: compare where its entries arrive.
            let arrive: BTreeSet<LocationId> = theirs.iter().map(|shape| shape.location).collect();
            let everything = Scope::of(Selection::everything());
            let mut own = into.shapes(&everything, &Mapping::default());
            own.retain(|shape| arrive.contains(&shape.location));
            own
        };
        plan(&own, &theirs, PlanOptions { take: true, give: false, on_conflict: self.on_conflict })
    }

    /// Merges `from` into `into`.
    ///
    /// # Errors
    /// [`MergeError`]; nothing is merged then, but for a conflict that could not be settled.
    pub fn run(&self, into: &mut Stronghold, from: &Stronghold) -> Result<Merged, MergeError> {
        let plan = self.plan(into, from);
        if plan.needs_confirmation() && !self.deletions_confirmed {
            let deleted = plan.deletes_here + plan.shrinks_here;
            return Err(MergeError::Deletions { deleted, of: plan.readable_here });
        }
        let wanted: BTreeSet<EntryId> = plan.take.iter().map(Shape::entry).collect();
        let grant = Grant::of_owner(self.selection.clone());
        let entries = from.export_mapped(&grant, &self.mapping, &wanted, self.now)?;
        let report = into.import(&entries, from.identity().device(), self.now, |_, entry, _| {
            if wanted.contains(entry) { Ok(()) } else { Err(RejectReason::Unrequested) }
        })?;
        let mut conflicts = report.conflicts;
        for resolution in &plan.resolve {
            conflicts -= u64::from(into.apply_resolution(resolution, self.now)?);
        }
        Ok(Merged {
            received: report.received,
            deleted: report.deleted,
            conflicts,
            unchanged: plan.unchanged,
        })
    }
}

impl From<&Plan> for Merged {
    fn from(plan: &Plan) -> Self {
        Self {
            received: plan.take.len() as u64,
            deleted: plan.deletes_here,
            conflicts: plan.conflicts,
            unchanged: plan.unchanged,
        }
    }
}
