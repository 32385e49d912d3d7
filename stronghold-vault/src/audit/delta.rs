//! The difference of two states of a log, as it is stored with a change.

use serde::{Deserialize, Serialize};

use super::{AuditLog, ChainedEntry, checkpoint::Checkpoint};
use crate::encoding::DecodeError;

/// The entries of a log that are new or changed.
#[derive(Serialize)]
pub(crate) struct LogDelta<'a> {
    /// Number of first entries that stay.
    kept: usize,
    /// The checkpoint, if it changed.
    checkpoint: Option<&'a Checkpoint>,
    entries: &'a [ChainedEntry],
}

/// [`LogDelta`] as loaded.
#[derive(Deserialize)]
pub(crate) struct LoadedLogDelta {
    kept: usize,
    checkpoint: Option<Checkpoint>,
    entries: Vec<ChainedEntry>,
}

impl<'a> LogDelta<'a> {
    /// Compares two states; `None` if they are equal. An entry's hash covers those before it, so
    /// the first that differs is where the rest begins.
    pub(crate) fn new(before: &AuditLog, now: &'a AuditLog) -> Option<Self> {
        let checkpoint = (before.checkpoint != now.checkpoint).then_some(&now.checkpoint);
        let both = before.entries.iter().zip(&now.entries);
        let kept = match checkpoint {
            None => both.take_while(|(before, now)| before.hash == now.hash).count(),
            Some(_) => 0,
        };
        let is_same = checkpoint.is_none() && kept == now.entries.len() && kept == before.entries.len();
        (!is_same).then_some(Self { kept, checkpoint, entries: &now.entries[kept..] })
    }
}

impl AuditLog {
    /// Applies a difference.
    pub(crate) fn apply(&mut self, delta: LoadedLogDelta) -> Result<(), DecodeError> {
        if delta.kept > self.entries.len() {
            return Err(DecodeError);
        }
        self.entries.truncate(delta.kept);
        self.entries.extend(delta.entries);
        delta.checkpoint.into_iter().for_each(|checkpoint| self.checkpoint = checkpoint);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stronghold_sync::DeviceId;

    use super::*;
    use crate::{AuditAction, AuditRecord, ages::ms};

    fn stored(value: &impl Serialize) -> Vec<u8> {
        rmp_serde::to_vec(value).unwrap()
    }

    fn applied(to: &AuditLog, delta: &LogDelta<'_>) -> Result<Vec<u8>, DecodeError> {
        let mut log = to.clone();
        log.apply(rmp_serde::from_slice(&stored(delta)).unwrap())?;
        Ok(stored(&log))
    }

    #[test]
    fn only_what_differs_is_in_a_difference_and_leads_from_one_to_the_other() {
        let mut log = AuditLog::default();
        let mut logs = vec![log.clone()];
        for time in 1..4 {
            let device = DeviceId::from_bytes([time as u8; 32]);
            log.append(AuditRecord::about(device, AuditAction::Pull, ms(time)));
            logs.push(log.clone());
        }
        for (number, before) in logs.iter().enumerate() {
            assert!(LogDelta::new(before, before).is_none());
            for (other, now) in logs.iter().enumerate().filter(|(other, _)| *other != number) {
                let delta = LogDelta::new(before, now).unwrap();
                assert!(delta.checkpoint.is_none());
                assert_eq!(
                    (delta.kept, delta.entries.len()),
                    (number.min(other), other.saturating_sub(number))
                );
                assert_eq!(applied(before, &delta), Ok(stored(now)));
                let is_refused = number.min(other) > 0;
                assert_eq!(applied(&logs[0], &delta).is_err(), is_refused, "entries that are not there");
            }
        }
        let mut folded = log.clone();
        folded.fold_first(2);
        let delta = LogDelta::new(&log, &folded).unwrap();
        assert_eq!((delta.checkpoint.is_some(), delta.kept, delta.entries.len()), (true, 0, 1));
        assert_eq!(applied(&log, &delta), Ok(stored(&folded)));
    }
}
