//! The ages of the ids in a list of ancestors: since when this file knows that a revision is
//! replaced. They decide what may be forgotten, never what is replaced.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use stronghold_sync::{Ancestors, ShortId};

/// For each id of a list, in its order, the generation of the file in which it was added, as runs
/// of a generation and a number of ids. It never leaves the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ages(Vec<(u64, u16)>);

/// The moment at which a list is extended, and the limit to which it may be shortened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgetting {
    /// The generation of the file that is being written.
    pub(crate) generation: u64,
    /// The newest mark of any paired device. Ids added after it need not be told apart.
    pub(crate) newest_mark: u64,
    /// Number of ids that stay, whatever their age.
    pub(crate) floor: usize,
}

/// Retention time after replacement of the last value that each device delivered and of the last
/// one written here. No device's writes can wash away another device's value.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Number of the newest ids of a list that stay: so many edits a restored backup may be behind.
const FLOOR: usize = 32;
/// Number of deletions that stay although all devices have them: an unknown copy, or a restored
/// backup, does not bring these records back.
const MAX_TOMBSTONES: usize = 1024;

/// The limits of forgetting; tests change them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) floor: usize,
    pub(crate) tombstones: usize,
    pub(crate) retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { floor: FLOOR, tombstones: MAX_TOMBSTONES, retention: RETENTION }
    }
}

impl Ages {
    /// The ages of an empty list.
    pub(crate) const EMPTY: Self = Self(Vec::new());

    /// Returns the ages of a list whose ids were all added now.
    pub(crate) fn new(list: &Ancestors, generation: u64) -> Self {
        let mut ages = Self::default();
        list.as_slice().iter().for_each(|_| ages.push(generation));
        ages
    }

    /// Returns the ages of the list of a revision that replaces the heads with these lists. What no
    /// device has acknowledged since it was added counts as added now: so there are few runs.
    pub(crate) fn carried<'a>(
        list: &Ancestors,
        replaced: impl IntoIterator<Item = (&'a Ancestors, &'a Self)>,
        forgetting: &Forgetting,
    ) -> Self {
        let mut known = BTreeMap::<ShortId, u64>::new();
        for (list, ages) in replaced {
            let aged = list.as_slice().iter().zip(ages.iter());
            for (id, age) in aged.filter(|(_, age)| *age <= forgetting.newest_mark) {
                let held = known.entry(*id).or_default();
                *held = age.max(*held);
            }
        }
        if known.is_empty() {
            return Self::new(list, forgetting.generation);
        }
        let mut ages = Self::default();
        let age_of = |id| known.get(id).copied().unwrap_or(forgetting.generation);
        list.as_slice().iter().for_each(|id| ages.push(age_of(id)));
        ages
    }

    /// Returns the age of each id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|(age, number)| std::iter::repeat_n(*age, usize::from(*number)))
    }

    /// Returns the age of the newest id; `None` if there is none.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.0.iter().map(|(age, _)| *age).max()
    }

    /// Returns whether there is one age for each id of the list.
    pub(crate) fn fit(&self, list: &Ancestors) -> bool {
        let number: usize = self.0.iter().map(|(_, number)| usize::from(*number)).sum();
        number == list.as_slice().len() && self.0.iter().all(|(_, number)| *number > 0)
    }

    fn push(&mut self, age: u64) {
        match self.0.last_mut() {
            Some((last, number)) if *last == age && *number < u16::MAX => *number += 1,
            _ => self.0.push((age, 1)),
        }
    }
}

/// Returns the list without the ids that were added up to the generation `passed`, except for its
/// parents and so many of the newest that `floor` ids stay; `None` if none goes.
pub(crate) fn shortened(
    list: &Ancestors,
    ages: &Ages,
    passed: u64,
    floor: usize,
) -> Option<(Ancestors, Ages)> {
    let (all, parents) = (list.as_slice().len(), list.parents().len());
    if all <= floor {
        return None;
    }
    let each: Vec<u64> = ages.iter().collect();
    let mut old: Vec<usize> = (parents..all).filter(|at| each[*at] <= passed).collect();
    // Of one age, those that have been elsewhere come first, and the newest of these.
    old.sort_by_key(|at| std::cmp::Reverse(each[*at]));
    let room = floor.saturating_sub(all - old.len());
    let gone = old.get(room..).filter(|gone| !gone.is_empty())?;
    let mut stays = vec![true; all];
    gone.iter().for_each(|at| stays[*at] = false);
    let mut left = Ages::default();
    each.iter().zip(&stays).filter(|(_, stays)| **stays).for_each(|(age, _)| left.push(*age));
    let mut stays = stays.into_iter();
    Some((list.only(|_| stays.next().unwrap_or(true)), left))
}

#[cfg(test)]
pub(crate) const fn ms(millis: u64) -> stronghold_sync::Timestamp {
    stronghold_sync::Timestamp::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stronghold_sync::{Replaced, RevisionId};

    fn id(number: u16) -> RevisionId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        RevisionId::from_bytes(bytes)
    }

    /// A line of revisions written in these generations; each has been elsewhere.
    fn line(generations: &[u64], newest_mark: u64) -> (Ancestors, Ages) {
        let (mut list, mut ages) = (Ancestors::default(), Ages::default());
        for (number, generation) in (0..).zip(generations) {
            let next =
                Ancestors::for_successor(&[Replaced { id: id(number), shared: true, ancestors: &list }]);
            let forgetting = Forgetting { generation: *generation, newest_mark, floor: 0 };
            ages = Ages::carried(&next, [(&list, &ages)], &forgetting);
            list = next;
        }
        (list, ages)
    }

    fn left(generations: &[u64], passed: u64, floor: usize) -> Option<Vec<u64>> {
        let (list, ages) = line(generations, u64::MAX);
        let (left, ages) = shortened(&list, &ages, passed, floor)?;
        assert!(ages.fit(&left) && left.parents() == list.parents());
        assert!(left.as_slice().iter().all(|id| list.as_slice().contains(id)));
        Some(ages.iter().collect())
    }

    #[test]
    fn each_id_keeps_the_generation_in_which_it_was_added_as_far_as_a_mark_tells_it_apart() {
        let ages = |newest| line(&[1, 2, 2, 5, 9], newest).1;
        assert_eq!(ages(u64::MAX).iter().collect::<Vec<_>>(), [9, 5, 2, 2, 1]);
        assert_eq!(ages(4).0, [(9, 2), (2, 2), (1, 1)]);
        assert_eq!(ages(0).0, [(9, 5)]);
        assert_eq!((ages(0).newest(), Ages::default().newest()), (Some(9), None));
    }

    #[test]
    fn an_id_in_two_lists_has_the_later_age() {
        let (list, _) = line(&[1, 1], 0);
        let forgetting = Forgetting { generation: 9, newest_mark: 8, floor: 0 };
        let (one, other) = (Ages(vec![(3, 1), (5, 1)]), Ages(vec![(4, 1), (2, 1)]));
        assert_eq!(Ages::carried(&list, [(&list, &one), (&list, &other)], &forgetting).0, [(4, 1), (5, 1)]);
    }

    #[test]
    fn what_all_have_passed_goes_except_for_the_parents_and_the_newest() {
        let written = [1, 2, 3, 4, 5, 6];
        for (passed, floor, expected) in [
            (0, 0, None),
            (3, 0, Some(&[6, 5, 4][..])),
            (3, 3, Some(&[6, 5, 4])),
            (3, 4, Some(&[6, 5, 4, 3])),
            (3, 5, Some(&[6, 5, 4, 3, 2])),
            (3, 6, None),
            (9, 0, Some(&[6])),
            (9, 2, Some(&[6, 5])),
        ] {
            assert_eq!(left(&written, passed, floor).as_deref(), expected, "{passed} {floor}");
        }
    }

    #[test]
    fn ages_are_loaded_only_with_a_list_of_their_length() {
        let (list, ages) = line(&[1, 2, 3], u64::MAX);
        assert!(ages.fit(&list) && Ages::default().fit(&Ancestors::default()));
        for other in [vec![(1, 2)], vec![(1, 4)], vec![(1, 3), (2, 0)], vec![]] {
            assert!(!Ages(other.clone()).fit(&list), "{other:?}");
        }
    }
}
