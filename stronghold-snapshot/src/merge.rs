//! Local sync from another snapshot: all of it or a selection, under its own or mapped names.

use std::collections::BTreeSet;

use stronghold_sync::{
    EntryId, LocationId, Mapping, OnConflict, Plan, PlanOptions, Scope, Selection, Shape, Timestamp, plan,
};
use stronghold_vault::{ExportError, ImportError, RejectReason, Stronghold, WriteError};
use thiserror::Error;

/// The parameters of a merge.
#[derive(Debug, Clone)]
pub struct Merge {
    /// Records to take, by their names in the other snapshot.
    pub selection: Selection,
    /// Names under which the records arrive.
    pub mapping: Mapping,
    /// Treatment of conflicts.
    pub on_conflict: OnConflict,
    /// Set if a person confirmed that many records will be deleted.
    pub deletions_confirmed: bool,
    /// Time of the merge, in milliseconds since 1970.
    pub now: Timestamp,
}

/// The effect of a merge, done or planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Number of revisions taken.
    pub received: u64,
    /// Number of records deleted.
    pub deleted: u64,
    /// Number of taken records that are now in conflict.
    pub conflicts: u64,
    /// Number of records that were the same.
    pub unchanged: u64,
}

/// An error of merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The merge would delete, empty or shorten more than a tenth of the records: a person must
    /// confirm.
    #[error("the merge would delete or empty {deleted} of {of} records")]
    Deletions {
        /// Number of records that would be deleted, emptied, or shortened to less than half.
        deleted: u64,
        /// Number of records that are there.
        of: u64,
    },
    /// The other snapshot could not be read.
    #[error("the other snapshot can't be read: {0}")]
    Export(#[from] ExportError),
    /// The entries could not be imported here.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A conflict could not be resolved.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Merge {
    /// Returns the plan that [`run`](Self::run) would execute.
    pub fn plan(&self, into: &Stronghold, from: &Stronghold) -> Plan {
        let scope = Scope::of(self.selection.clone());
        let theirs = from.shapes(&scope, &self.mapping);
        let own = if self.mapping.is_empty() {
            into.shapes(&scope, &Mapping::default())
        } else {
            // The selection is in the other snapshot's names: compare at the mapped locations.
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
    /// [`MergeError`]. Nothing is merged then, except if a conflict could not be resolved.
    pub fn run(&self, into: &mut Stronghold, from: &Stronghold) -> Result<Merged, MergeError> {
        let plan = self.plan(into, from);
        if plan.needs_confirmation() && !self.deletions_confirmed {
            let deleted = plan.deletes_here + plan.shrinks_here;
            return Err(MergeError::Deletions { deleted, of: plan.readable_here });
        }
        let wanted: BTreeSet<EntryId> = plan.take.iter().map(Shape::entry).collect();
        let entries = from.export_mapped(&self.selection, &self.mapping, &wanted)?;
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
