//! The difference of two states of the steps, as it is stored with a change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Step, Steps, Stored};
use crate::encoding::DecodeError;

/// The steps that are new or changed, and the numbers of all.
#[derive(Serialize, Deserialize)]
pub(crate) struct StepsDelta {
    last: u64,
    numbers: Vec<u64>,
    changed: Vec<Stored>,
}

impl StepsDelta {
    /// Compares two states; `None` if they are equal.
    pub(crate) fn new(before: &Steps, now: &Steps) -> Option<Self> {
        let is_new = |step: &&Arc<Step>| !before.list.contains(step);
        let changed: Vec<Stored> = now.list.iter().filter(is_new).map(|step| Stored::from(&**step)).collect();
        let numbers: Vec<u64> = now.list.iter().map(|step| step.number).collect();
        let is_same = changed.is_empty() && numbers.len() == before.list.len() && before.last == now.last;
        (!is_same).then_some(Self { last: now.last, numbers, changed })
    }
}

impl Steps {
    /// Applies a difference.
    pub(crate) fn apply(&mut self, delta: StepsDelta) -> Result<(), DecodeError> {
        let changed: Vec<Arc<Step>> =
            delta.changed.into_iter().map(|step| Arc::new(Step::from(step))).collect();
        let find = |number: &u64| {
            let mut all = changed.iter().chain(&self.list);
            all.find(|step| step.number == *number).cloned().ok_or(DecodeError)
        };
        let list = delta.numbers.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        *self = Self::checked(delta.last, list).ok_or(DecodeError)?;
        Ok(())
    }
}
