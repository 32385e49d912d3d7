//! The difference of two states of the steps, as it is stored with a change.

use std::{collections::BTreeMap, mem, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Step, Steps, Stored};
use crate::encoding::DecodeError;

/// The steps that are new or changed, and the numbers of all.
#[derive(Serialize, Deserialize)]
pub(crate) struct StepsDelta {
    last: u64,
    numbers: Vec<u64>,
    changed: Vec<Stored>,
    /// Of a step that changed more records than before, only those that are new or changed: a step
    /// of many commits costs each commit what that changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grown: Vec<Stored>,
}

impl StepsDelta {
    /// Compares two states; `None` if they are equal.
    pub(crate) fn new(before: &Steps, now: &Steps) -> Option<Self> {
        let (mut changed, mut grown) = (Vec::new(), Vec::new());
        for step in now.list.iter().filter(|step| !before.list.contains(step)) {
            let known = before.list.iter().find(|known| known.number == step.number);
            match known.and_then(|known| step.beyond(known)) {
                Some(more) => grown.push(Stored::from(&more)),
                None => changed.push(Stored::from(&**step)),
            }
        }
        let numbers: Vec<u64> = now.list.iter().map(|step| step.number).collect();
        let is_same = changed.is_empty()
            && grown.is_empty()
            && numbers.len() == before.list.len()
            && before.last == now.last;
        (!is_same).then_some(Self { last: now.last, numbers, changed, grown })
    }
}

impl Step {
    /// Returns the step with the changes alone that `known` lacks; `None` if it lacks some itself.
    fn beyond(&self, known: &Self) -> Option<Self> {
        let mut before = known.changes.iter().peekable();
        let mut more = BTreeMap::new();
        for (id, change) in &self.changes {
            let same = before.next_if(|(other, _)| *other == id);
            if same.is_none_or(|(_, other)| other != change) {
                more.insert(*id, change.clone());
            }
        }
        let is_all = before.next().is_none();
        is_all.then(|| Self { changes: more, word: self.word.clone(), rules: self.rules.clone(), ..*self })
    }
}

impl Steps {
    /// Applies a difference.
    pub(crate) fn apply(&mut self, delta: StepsDelta) -> Result<(), DecodeError> {
        let mut changed: Vec<Arc<Step>> =
            delta.changed.into_iter().map(|step| Arc::new(Step::from(step))).collect();
        for more in delta.grown.into_iter().map(Step::from) {
            let at = self.list.iter().position(|step| step.number == more.number).ok_or(DecodeError)?;
            let mut step = self.list.remove(at);
            let Step { changes, .. } = Arc::make_mut(&mut step);
            let mut all = mem::take(changes);
            all.extend(more.changes);
            changed.push(Arc::new(Step { changes: all, ..more }));
        }
        let find = |number: &u64| {
            let mut all = changed.iter().chain(&self.list);
            all.find(|step| step.number == *number).cloned().ok_or(DecodeError)
        };
        let list = delta.numbers.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        *self = Self::checked(delta.last, list).ok_or(DecodeError)?;
        Ok(())
    }
}
