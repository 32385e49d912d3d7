//! Marks: the states of this file that paired devices have acknowledged. They decide what may be
//! forgotten.

use serde::{Deserialize, Serialize};
use stronghold_sync::{DeviceId, LocationId, Policy, Rule, Scope, session::Acknowledged};

use super::Peers;

/// Maximum number of marks of a device, one for each scope in which it syncs.
const MAX_MARKS: usize = 4;
/// Maximum number of records that a mark excepts. A sync that leaves out more leaves no mark.
const MAX_EXCEPTIONS: usize = 1024;

/// A state of this file that a device has acknowledged: since then it holds every head of that
/// state, or one that replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The generation of this file.
    generation: u64,
    scope: Scope,
    /// The first 8 bytes of the ids of records that it does not hold for, ascending.
    except: Vec<u64>,
}

impl Mark {
    fn holds_for(&self, id: &LocationId, location: &str) -> bool {
        self.except.binary_search(&first_of(id)).is_err() && self.scope.covers_text(location)
    }
}

impl Peers {
    /// Records that a paired device has acknowledged the state of this file at `generation`. A sync
    /// in a part of an earlier one's scope does not replace that mark.
    pub fn acknowledge(&mut self, device: &DeviceId, acknowledged: &Acknowledged, generation: u64) {
        if !self.peers.contains_key(device) || acknowledged.except.len() > MAX_EXCEPTIONS {
            return;
        }
        let mut except: Vec<u64> = acknowledged.except.iter().map(first_of).collect();
        except.sort_unstable();
        let mark = Mark { generation, scope: acknowledged.scope.clone(), except };
        let marks = &mut self.stamps.entry(*device).or_default().marks;
        let is_outdated = |old: &Mark| old.generation <= generation && mark.scope.includes(&old.scope);
        marks.retain(|old| !is_outdated(old));
        // The marks tell also which records the device may show, so no other one gives way.
        if marks.len() < MAX_MARKS {
            marks.push(mark);
        }
    }

    /// Returns the newest generation of this file that a paired device has acknowledged; `0` if it
    /// has none.
    pub fn acknowledged(&self, device: &DeviceId) -> u64 {
        let marks = self.stamps.get(device).into_iter().flat_map(|stamped| &stamped.marks);
        marks.map(|mark| mark.generation).max().unwrap_or_default()
    }

    /// Returns the newest generation that any paired device has acknowledged.
    pub(crate) fn newest_mark(&self) -> u64 {
        self.peers.keys().map(|device| self.acknowledged(device)).max().unwrap_or_default()
    }

    /// Returns the generation that every device has acknowledged which may still show an older
    /// state of the record; [`u64::MAX`] if there is no such device.
    pub(crate) fn passed(&self, policy: &Policy, id: &LocationId, location: &str) -> u64 {
        let of_device = |device| self.passed_by(device, policy, id, location);
        self.peers.keys().filter_map(of_device).min().unwrap_or(u64::MAX)
    }

    /// Returns the generation that a paired device has acknowledged; `None` if it can't show an
    /// older state of the record. A device that has acknowledged nothing yet may show any record,
    /// later only those that it may read or write here, or that its syncs cover.
    pub(crate) fn passed_by(
        &self,
        device: &DeviceId,
        policy: &Policy,
        id: &LocationId,
        location: &str,
    ) -> Option<u64> {
        let marks = self.stamps.get(device).map_or(&[][..], |stamped| &stamped.marks);
        let holding = marks.iter().filter(|mark| mark.holds_for(id, location));
        if let Some(newest) = holding.map(|mark| mark.generation).max() {
            return Some(newest);
        }
        let covers = |rule: &Rule| Scope::of(rule.selection.clone()).covers_text(location);
        let may_show = marks.is_empty()
            || marks.iter().any(|mark| mark.scope.covers_text(location))
            || policy.rules_of(device).any(|(_, rule)| covers(rule));
        may_show.then_some(0)
    }
}

fn first_of(id: &LocationId) -> u64 {
    id.record.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{Peer, ages::ms};
    use stronghold_sync::{Location, Operation, Selection};

    const ONE: DeviceId = DeviceId::from_bytes([1; 32]);
    const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);

    fn with(devices: &[DeviceId]) -> Peers {
        let mut peers = Peers::default();
        devices.iter().for_each(|device| peers.insert(*device, peer()));
        peers
    }

    fn peer() -> Peer {
        Peer {
            name: String::new(),
            own_name: String::new(),
            spki: Vec::new(),
            address: None,
            paired: ms(0),
            generation: 0,
            rendezvous: None,
        }
    }

    fn of(selection: &str, except: &[&str]) -> Acknowledged {
        let except = except.iter().map(|text| text.parse::<Location>().unwrap().id()).collect();
        Acknowledged { scope: Scope::of(selection.parse().unwrap()), except }
    }

    fn passed(peers: &Peers, policy: &Policy, location: &str) -> u64 {
        peers.passed(policy, &location.parse::<Location>().unwrap().id(), location)
    }

    #[test]
    fn the_device_that_is_furthest_behind_decides() {
        let policy = Policy::default();
        assert_eq!(passed(&with(&[]), &policy, "a/v/r"), u64::MAX);
        let mut peers = with(&[ONE, OTHER]);
        peers.acknowledge(&ONE, &of("**", &[]), 7);
        assert_eq!(passed(&peers, &policy, "a/v/r"), 0, "the other has not synced yet");
        peers.acknowledge(&OTHER, &of("**", &["a/v/s"]), 9);
        assert_eq!((passed(&peers, &policy, "a/v/r"), passed(&peers, &policy, "a/v/s")), (7, 0));
        assert_eq!((peers.acknowledged(&ONE), peers.newest_mark()), (7, 9));
        peers.remove(&ONE, ms(1));
        assert_eq!((passed(&peers, &policy, "a/v/r"), peers.newest_mark()), (9, 9));
        peers.insert(OTHER, peer());
        assert_eq!(passed(&peers, &policy, "a/v/r"), 0, "paired again: perhaps with another file");
        peers.acknowledge(&ONE, &of("**", &[]), 10);
        assert_eq!(peers.acknowledged(&ONE), 0, "not paired");
    }

    #[test]
    fn a_device_counts_where_it_may_show_the_record() {
        let mut peers = with(&[ONE]);
        peers.acknowledge(&ONE, &of("team/**", &[]), 5);
        let mut policy = Policy::default();
        assert_eq!((passed(&peers, &policy, "team/v/r"), passed(&peers, &policy, "a/v/r")), (5, u64::MAX));
        for (device, expected) in [(OTHER, u64::MAX), (ONE, 0)] {
            policy.grant(Rule {
                device,
                operations: BTreeSet::from([Operation::Push]),
                selection: Selection::everything(),
                expires: None,
                ask: true,
            });
            assert_eq!(
                (passed(&peers, &policy, "a/v/r"), passed(&peers, &policy, "team/v/r")),
                (expected, 5)
            );
        }
    }

    #[test]
    fn a_part_does_not_replace_the_whole_nor_an_earlier_state_a_later_one() {
        let policy = Policy::default();
        let mut peers = with(&[ONE]);
        let mut after = |selection: &str, except: &[&str], generation| {
            peers.acknowledge(&ONE, &of(selection, except), generation);
            ["a/v/r", "b/v/r"].map(|location| passed(&peers, &policy, location))
        };
        assert_eq!(after("**", &[], 3), [3, 3]);
        assert_eq!(after("a/**", &[], 5), [5, 3]);
        assert_eq!(after("a/**", &[], 4), [5, 3], "of an older session");
        assert_eq!(after("a/**", &["a/v/r"], 6), [3, 3], "it was left out since");
        assert_eq!(after("**", &["b/v/r"], 8), [8, 0]);
        let far: BTreeMap<u16, String> = (0..=1024).map(|n| (n, format!("a/v/{n}"))).collect();
        let far: Vec<&str> = far.values().map(String::as_str).collect();
        assert_eq!(after("**", &far, 9), [8, 0], "over the limit: no mark");
        assert_eq!(after("**", &far[1..], 9), [9, 9]);
        for part in 0..3 {
            after(&format!("c/v/{part}"), &[], 10);
        }
        assert_eq!(after("a/**", &[], 11), [9, 9], "a fifth beside them");
        assert_eq!(after("**", &[], 12), [12, 12]);
        assert_eq!(after("a/**", &[], 13), [13, 12]);
    }
}
