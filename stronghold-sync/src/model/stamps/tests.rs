//! Tests that a single snapshot which is interrupted, restored and used by several sessions at once
//! is never reported, and that two used in turns are.

use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;

/// A peer's snapshot: its stamp.
type File = Option<Stamp>;

/// The side that remembers stamps, and the number of stamps it has issued.
#[derive(Default)]
struct Side(Stamps, u64);

/// A session under way: the stamp that the peer showed, and the one that the session issues.
#[derive(Clone, Copy)]
struct Underway {
    shown: File,
    next: Stamp,
}

impl Side {
    fn begin(&mut self, shown: File) -> (bool, Underway) {
        self.1 += 1;
        (self.0.detects_duplicate(shown), Underway { shown, next: Stamp::from_bytes(self.1.to_be_bytes()) })
    }

    fn note(&mut self, session: Underway) {
        self.0.note(session.shown, session.next);
        assert!(self.0.0.len() <= MAX_STAMPS);
    }

    /// Runs a session that the peer does not complete; returns whether a duplicate was reported.
    fn cut(&mut self, file: File) -> bool {
        let (told, session) = self.begin(file);
        self.note(session);
        told
    }

    /// Runs a complete session.
    fn meet(&mut self, file: &mut File) -> bool {
        let (told, session) = self.begin(*file);
        self.note(session);
        take(file, session);
        told
    }
}

/// Has the peer adopt the stamp: it knows that the other end stored it.
fn take(file: &mut File, session: Underway) {
    if *file == session.shown {
        *file = Some(session.next);
    }
}

#[test]
fn two_files_that_are_used_by_turns_are_told_and_go_on_being_told() {
    for before in 0..4 {
        let (mut side, mut one) = (Side::default(), File::default());
        (0..before).for_each(|_| assert!(!side.meet(&mut one)));
        let mut other = one;
        let told: Vec<bool> = (0..4).flat_map(|_| [side.meet(&mut one), side.meet(&mut other)]).collect();
        assert_eq!(told, [false, false, false, true, true, true, true, true], "{before}");
    }
}

#[test]
fn a_copy_that_rests_for_long_is_told_too() {
    let (mut side, mut one) = (Side::default(), File::default());
    side.meet(&mut one);
    let mut other = one;
    (0..50).for_each(|_| assert!(!side.meet(&mut one)));
    assert!(!side.meet(&mut other), "that may be a backup");
    assert!(!side.meet(&mut one), "or a mistake that was mended");
    assert!(side.meet(&mut other));
    assert!(side.meet(&mut one));
}

#[test]
fn a_backup_that_was_put_back_by_mistake_and_the_mending_of_it_are_none() {
    for (age, sessions) in (0..6).flat_map(|age| (0..6).map(move |sessions| (age, sessions))) {
        let (mut side, mut file) = (Side::default(), File::default());
        let mut backups = Vec::new();
        for _ in 0..6 {
            backups.push(file);
            assert!(!side.meet(&mut file));
        }
        let mut mistaken = backups[age];
        (0..sessions).for_each(|_| assert!(!side.meet(&mut mistaken), "{age} {sessions}"));
        (0..6).for_each(|_| assert!(!side.meet(&mut file), "{age} {sessions}"));
    }
}

#[test]
fn sessions_that_are_interrupted_push_out_each_other_and_nothing_else() {
    let (mut side, mut file) = (Side::default(), File::default());
    (0..3).for_each(|_| _ = side.meet(&mut file));
    for count in 1..=3 * MAX_SUCCESSORS {
        assert!(!side.cut(file));
        let last = Stamp::from_bytes(side.1.to_be_bytes());
        let following: Vec<Stamp> =
            side.0.0.iter().filter(|given| given.shown == file).map(|given| given.stamp).collect();
        assert_eq!(following.len(), count.min(MAX_SUCCESSORS), "{count}");
        assert_eq!(following.last(), Some(&last), "the oldest gives way");
        let own = side.0.0.iter().find(|given| Some(given.stamp) == file).unwrap();
        assert_eq!((own.has_forgotten_successors, own.bypassed), (count > MAX_SUCCESSORS, false));
    }
}

#[test]
fn a_peer_that_shows_what_it_likes_is_told_of_at_most() {
    let mut side = Side::default();
    for round in 0..1_000_u64 {
        side.cut(Some(Stamp::from_bytes((round * 7 % 13).to_be_bytes())));
    }
}

/// An event in the life of one honest snapshot.
#[derive(Clone, Copy, Debug)]
enum SnapshotEvent {
    /// A session begins.
    Begin,
    /// This side stores the stamp of a session under way.
    Note(usize),
    /// The peer completes a session whose stamp is stored.
    Take(usize),
    /// A session with a stored stamp is interrupted.
    Cut(usize),
    /// A backup of this age is restored, and used from now on.
    Restore(usize),
    /// The last restore is undone.
    Mend,
}

fn deed() -> impl Strategy<Value = SnapshotEvent> {
    prop_oneof![
        6 => Just(SnapshotEvent::Begin),
        5 => (0..4_usize).prop_map(SnapshotEvent::Note),
        5 => (0..4_usize).prop_map(SnapshotEvent::Take),
        1 => (0..4_usize).prop_map(SnapshotEvent::Cut),
        1 => (0..12_usize).prop_map(SnapshotEvent::Restore),
        1 => Just(SnapshotEvent::Mend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    /// Runs sessions in parallel, interrupted, or noted late, with backups of any age that may be
    /// undone.
    #[test]
    fn one_snapshot_is_never_told_of(deeds in prop::collection::vec(deed(), 0..120)) {
        let (mut side, mut file) = (Side::default(), File::default());
        let (mut open, mut noted) = (Vec::new(), Vec::new());
        let (mut states, mut before) = (vec![file], None);
        for deed in deeds {
            match deed {
                SnapshotEvent::Begin => {
                    let (told, session) = side.begin(file);
                    prop_assert!(!told);
                    open.push(session);
                }
                SnapshotEvent::Note(at) if !open.is_empty() => {
                    let session = open.remove(at % open.len());
                    side.note(session);
                    noted.push(session);
                }
                SnapshotEvent::Take(at) if !noted.is_empty() => {
                    take(&mut file, noted.remove(at % noted.len()));
                    states.push(file);
                }
                SnapshotEvent::Cut(at) if !noted.is_empty() => drop(noted.remove(at % noted.len())),
                SnapshotEvent::Restore(age) => {
                    // The sessions of a restored device end.
                    (open, noted) = (Vec::new(), Vec::new());
                    states.truncate(states.len().saturating_sub(age).max(1));
                    before = Some((file, states.clone()));
                    file = states[states.len() - 1];
                }
                SnapshotEvent::Mend => if let Some((good, kept)) = before.take() {
                    (open, noted) = (Vec::new(), Vec::new());
                    (file, states) = (good, kept);
                },
                _ => {}
            }
        }
    }

    /// Uses two copies in any order, with interrupted sessions between complete ones: the duplicate
    /// is reported with the fourth turn at the latest, whichever begins.
    #[test]
    fn two_that_are_used_by_turns_are_told(
        before in 0..20_usize,
        rest in 0..20_usize,
        sessions in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.2)), 0..60),
    ) {
        let (mut side, mut one) = (Side::default(), File::default());
        (0..before).for_each(|_| _ = side.meet(&mut one));
        let mut files = [one, one];
        (0..rest).for_each(|_| _ = side.meet(&mut files[0]));
        let (mut turns, mut last, mut cuts) = (0, None, [0; 2]);
        for (which, is_cut) in sessions {
            let which = usize::from(which);
            if is_cut && cuts[which] < (MAX_SUCCESSORS - 2) / 2 {
                cuts[which] += 1;
                side.cut(files[which]);
                continue;
            }
            cuts[which] = 0;
            turns += usize::from(last != Some(which));
            let is_new_turn = last.replace(which) != Some(which);
            let told = side.meet(&mut files[which]);
            prop_assert!(told || !is_new_turn || turns < 4, "turn {turns}");
        }
    }
}
