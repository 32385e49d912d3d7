//! The operations that a test case performs on its replicas, and when each is possible.

use proptest::{prelude::*, sample::Index};
use proptest_state_machine::ReferenceStateMachine;

use super::link::Allowed;

/// The records. The last two belong to the client that is granted to nobody.
pub(crate) const RECORDS: [&str; 6] =
    ["shared/a/one", "shared/a/two", "shared/b/one", "shared/b/two", "private/a/one", "private/b/two"];
/// The selections that sessions request. The last one is granted to nobody.
pub(crate) const SELECTIONS: [&str; 6] = ["**", "**", "shared/a/**", "*/*/one", "shared/b/two", "private/**"];

/// The direction of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Both,
    Pull,
    Push,
}

#[derive(Clone, Debug)]
pub(crate) enum Transition {
    /// Creates or edits a record.
    Write {
        on: usize,
        record: usize,
        value: u8,
    },
    Remove {
        on: usize,
        record: usize,
    },
    /// Resolves one of the conflicts, if there are any.
    Resolve {
        on: usize,
        record: Index,
        keep: Index,
    },
    Commit {
        on: usize,
    },
    /// Commits, and keeps a copy of the file.
    BackUp {
        on: usize,
    },
    /// Local sync: plan, export, import. It is not committed.
    Merge {
        into: usize,
        from: usize,
    },
    Sync {
        asking: usize,
        asked: usize,
        selection: usize,
        way: Way,
        /// If set, the initiator also takes what its own rules do not cover.
        take: bool,
        cut: Option<usize>,
    },
    /// Sets what another replica may do here.
    Rule {
        on: usize,
        peer: usize,
        allowed: Allowed,
    },
    /// Takes everything in a session, as a new device or into the existing content.
    Import {
        into: usize,
        from: usize,
        fresh: bool,
        cut: Option<usize>,
    },
    /// Replaces the present state by a backup.
    Restore {
        on: usize,
        backup: Index,
    },
    /// Replaces another replica's file by a copy of this one's; both continue.
    Copy {
        from: usize,
        over: usize,
    },
    /// Loses everything uncommitted.
    Crash {
        on: usize,
    },
}

impl Transition {
    /// Returns whether a replica goes back to an earlier state, or another's state is copied.
    fn forks(&self) -> bool {
        use Transition::{Copy, Import, Restore};
        matches!(self, Restore { .. } | Copy { .. } | Import { fresh: true, .. })
    }
}

/// Lists are complete: nothing is forgotten.
pub(crate) const COMPLETE: u8 = 0;
/// All is forgotten that may be, and no replica goes back.
pub(crate) const CLEAN: u8 = 1;
/// As [`CLEAN`], and deletions that all have are removed at once.
pub(crate) const REMOVED: u8 = 3;
/// All is forgotten that may be, but for a few ids, and replicas are restored and copied.
pub(crate) const FORKED: u8 = 2;

/// The knowledge needed to choose the next operation. The world checks the promises.
#[derive(Clone, Debug)]
pub(crate) struct Outline<const N: usize, const MODE: u8> {
    backups: [usize; N],
    /// Set if something was written or merged since the last certain commit.
    uncommitted: [bool; N],
    /// The order and direction in which all replicas connect at the end, and whether the first and
    /// the last never meet.
    pub(crate) links: Vec<(usize, usize)>,
    pub(crate) through_the_middle: bool,
}

impl<const N: usize, const MODE: u8> ReferenceStateMachine for Outline<N, MODE> {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        let pairs: Vec<_> = (0..N).flat_map(|a| (a + 1..N).map(move |b| (a, b))).collect();
        (Just(pairs).prop_shuffle(), any::<[bool; 3]>(), any::<bool>())
            .prop_map(|(pairs, turned, through_the_middle)| {
                let turn = |((a, b), turned)| if turned { (b, a) } else { (a, b) };
                let links = pairs.into_iter().zip(turned).map(turn).collect();
                Self { backups: [0; N], uncommitted: [false; N], links, through_the_middle }
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Transition> {
        let (on, record) = (0..N, 0..RECORDS.len());
        let two = (0..N, 1..N).prop_map(|(one, by)| (one, (one + by) % N));
        let way = prop_oneof![3 => Just(Way::Both), 1 => Just(Way::Pull), 1 => Just(Way::Push)];
        let sync = (two.clone(), 0..SELECTIONS.len(), way, prop::bool::weighted(0.2));
        let allowed = any::<[bool; 4]>().prop_map(|[pull, push, delete, narrow]| Allowed {
            pull,
            push,
            delete,
            narrow,
        });
        // In the middle of a session, or just after it.
        let cut = 0..16usize;
        let maybe_cut = prop_oneof![3 => Just(None), 1 => cut.clone().prop_map(Some)];
        prop_oneof![
            12 => (on.clone(), record.clone(), 0..4u8)
                .prop_map(|(on, record, value)| Transition::Write { on, record, value }),
            6 => (on.clone(), record).prop_map(|(on, record)| Transition::Remove { on, record }),
            4 => (on.clone(), any::<Index>(), any::<Index>())
                .prop_map(|(on, record, keep)| Transition::Resolve { on, record, keep }),
            3 => on.clone().prop_map(|on| Transition::Commit { on }),
            2 => on.clone().prop_map(|on| Transition::BackUp { on }),
            5 => two.clone().prop_map(|(into, from)| Transition::Merge { into, from }),
            6 => sync.clone().prop_map(|((asking, asked), selection, way, take)| {
                Transition::Sync { asking, asked, selection, way, take, cut: None }
            }),
            4 => (sync, cut).prop_map(|(((asking, asked), selection, way, take), cut)| {
                Transition::Sync { asking, asked, selection, way, take, cut: Some(cut) }
            }),
            3 => (two.clone(), allowed)
                .prop_map(|((on, peer), allowed)| Transition::Rule { on, peer, allowed }),
            2 => (two.clone(), prop::bool::weighted(0.25), maybe_cut)
                .prop_map(|((into, from), fresh, cut)| Transition::Import { into, from, fresh, cut }),
            2 => (on.clone(), any::<Index>()).prop_map(|(on, backup)| Transition::Restore { on, backup }),
            1 => two.prop_map(|(from, over)| Transition::Copy { from, over }),
            3 => on.prop_map(|on| Transition::Crash { on }),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, transition: &Transition) -> bool {
        if [CLEAN, REMOVED].contains(&MODE) && transition.forks() {
            return false;
        }
        match *transition {
            Transition::Restore { on, .. } => state.backups[on] > 0,
            Transition::Crash { on } => state.uncommitted[on],
            _ => true,
        }
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        match *transition {
            Transition::Write { on, .. }
            | Transition::Remove { on, .. }
            | Transition::Resolve { on, .. }
            | Transition::Rule { on, .. }
            | Transition::Merge { into: on, .. } => state.uncommitted[on] = true,
            Transition::BackUp { on } => {
                state.backups[on] += 1;
                state.uncommitted[on] = false;
            }
            Transition::Commit { on } | Transition::Restore { on, .. } | Transition::Crash { on } => {
                state.uncommitted[on] = false;
            }
            Transition::Import { into, fresh: true, .. } => state.uncommitted[into] = false,
            Transition::Copy { from, over } => {
                state.uncommitted[from] = false;
                state.uncommitted[over] = false;
            }
            Transition::Sync { .. } | Transition::Import { .. } => {}
        }
        state
    }
}
