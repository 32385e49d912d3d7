//! Salts for new revisions, requested from the system in blocks: one system call for each salt took
//! longer than sealing its revision.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::random::{RandomnessError, fill_random};

const SALT_LEN: usize = 32;
const SALTS_PER_REFILL: usize = 32;

/// Random bytes for the next revisions. Each salt is returned once and then wiped here.
///
/// A salt keeps a peer from testing guesses of a value against its hash. It is not a key: if `fork`
/// copies a process that has salts left, two revisions share a salt, which reveals something only
/// to a peer that receives one of the two values.
#[derive(Default)]
pub(crate) struct Salts(Zeroizing<Vec<[u8; SALT_LEN]>>);

impl Salts {
    pub(crate) fn take(&mut self) -> Result<[u8; SALT_LEN], RandomnessError> {
        if self.0.is_empty() {
            let mut fresh = Zeroizing::new(vec![[0; SALT_LEN]; SALTS_PER_REFILL]);
            fill_random(fresh.as_flattened_mut())?;
            self.0 = fresh;
        }
        let last = self.0.last_mut().ok_or(RandomnessError::UNUSABLE)?;
        let salt = *last;
        last.zeroize();
        self.0.pop();
        Ok(salt)
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_salt_is_given_twice_and_debug_shows_none() {
        let mut salts = Salts::default();
        let all: BTreeSet<[u8; SALT_LEN]> = (0..200).map(|_| salts.take().unwrap()).collect();
        assert_eq!(all.len(), 200);
        assert!(!all.contains(&[0; SALT_LEN]));
        assert_eq!(format!("{salts:?}"), "Salts(..)");
    }

    #[test]
    fn salts_are_asked_for_many_at_a_time_and_wiped_as_they_are_given() {
        let mut salts = Salts::default();
        let left: Vec<usize> =
            (0..SALTS_PER_REFILL + 2).map(|_| (salts.take().unwrap(), salts.0.len()).1).collect();
        let expected: Vec<usize> =
            (0..SALTS_PER_REFILL).rev().chain([SALTS_PER_REFILL - 1, SALTS_PER_REFILL - 2]).collect();
        assert_eq!(left, expected);
    }
}
