//! Changes of a file's key slots and master key.

use std::sync::Arc;

use stronghold_vault::LockedKey;

use super::{Sealer, find_slot, new_master};
use crate::error::{OpenError, SealError};
use crate::format::MAX_SLOTS;
use crate::format::cost::KdfWork;
use crate::format::crypto;
use crate::format::slot::{self, NewSlot, Slot, Unlock, Unwrapped};

impl Sealer {
    /// Replaces the master key of future generations and wraps the new one for every slot. An old
    /// master key, known from an old copy and an old passphrase, does not open them. The file's id
    /// stays.
    ///
    /// Recipient slots contain the key to wrap for. For other slots the secret must be at hand:
    /// that of the slot that was opened, of slots added here, and of slots that `others` opens.
    ///
    /// # Errors
    /// [`SealError::SlotNotAtHand`] for the first slot that can't be wrapped; nothing has changed
    /// then.
    pub fn renew_master(&mut self, others: &[Unlock<'_>]) -> Result<(), SealError> {
        for unlock in others {
            let found = find_slot(&self.slots, &self.file_id, unlock);
            if let Ok(Some((_, Unwrapped { secret, .. }))) = found {
                self.secrets.push(Arc::new(secret));
            }
        }
        let (master, mut slots) = (new_master()?, self.slots.clone());
        for slot in &mut slots {
            let secrets = self.secrets.iter().map(|secret| &**secret);
            if !slot.rewrap(secrets, &self.file_id, &master)? {
                return Err(SealError::SlotNotAtHand(slot.number));
            }
        }
        (self.master, self.slots) = (master, slots);
        crypto::wipe_stack();
        Ok(())
    }

    /// Adds a slot to future generations and returns its number, the next one. Runs Argon2 for a
    /// passphrase, and once more for each slot that might have the same passphrase.
    ///
    /// # Errors
    /// [`SealError`] if there would be too many slots, they cost too much, a slot has the same
    /// secret, the label is too long, or the system refuses memory or random bytes.
    pub fn add_slot(&mut self, new: &NewSlot<'_>, label: &str) -> Result<u16, SealError> {
        if self.slots.len() == MAX_SLOTS {
            return Err(SealError::TooManySlots);
        }
        let number = self.last_number.checked_add(1).ok_or(SealError::NoSlotNumbersLeft)?;
        self.check_new(new, None)?;
        let slot = self.make_slot(new, label, number)?;
        self.slots.push(slot);
        self.last_number = number;
        Ok(number)
    }

    /// Replaces a slot's secret in future generations. The slot keeps its number, and its label if
    /// `label` is `None`.
    ///
    /// # Errors
    /// As [`add_slot`](Self::add_slot), and [`SealError::NoSuchSlot`].
    pub fn replace_slot(
        &mut self,
        number: u16,
        new: &NewSlot<'_>,
        label: Option<&str>,
    ) -> Result<(), SealError> {
        let index = self.index_of(number)?;
        self.check_new(new, Some(number))?;
        let label = label.unwrap_or(&self.slots[index].label).to_owned();
        self.slots[index] = self.make_slot(new, &label, number)?;
        Ok(())
    }

    /// Removes a slot from future generations. Anyone who could open an earlier generation may
    /// still know the master key: see [`renew_master`](Self::renew_master).
    ///
    /// # Errors
    /// [`SealError::NoSlots`] for the last slot, [`SealError::NoSuchSlot`].
    pub fn remove_slot(&mut self, number: u16) -> Result<(), SealError> {
        let index = self.index_of(number)?;
        if self.slots.len() == 1 {
            return Err(SealError::NoSlots);
        }
        self.slots.remove(index);
        Ok(())
    }

    /// Returns the number of the slot that was opened, or of the first one that was created here;
    /// `None` if it was replaced or removed since.
    pub fn opened_slot(&self) -> Option<u16> {
        let secret = self.slot_key()?;
        self.slots.iter().find(|slot| slot.is_opened_by(secret, &self.file_id)).map(|slot| slot.number)
    }

    /// Returns the key of the slot that was opened: with it [`Unlock::SlotKey`] opens the file
    /// again without stretching the passphrase, until the slot is replaced or removed.
    pub fn slot_key(&self) -> Option<&LockedKey> {
        self.secrets.first().map(|secret| &**secret)
    }

    fn index_of(&self, number: u16) -> Result<usize, SealError> {
        self.slots.iter().position(|slot| slot.number == number).ok_or(SealError::NoSuchSlot(number))
    }

    fn make_slot(&mut self, new: &NewSlot<'_>, label: &str, number: u16) -> Result<Slot, SealError> {
        if !slot::is_label(label) {
            return Err(SealError::LabelTooLong);
        }
        let (mut slot, secret) = Slot::wrap(new, &self.file_id, &self.master)?;
        (slot.number, slot.label) = (number, label.to_owned());
        self.secrets.push(Arc::new(secret));
        Ok(slot)
    }

    /// Checks that no slot except the `replaced` one opens with the new slot's secret: removing one
    /// of two equal slots would not lock its holder out. Checks also that all slots
    /// together stay within the KDF limit, before any of that work is spent.
    pub(super) fn check_new(&self, new: &NewSlot<'_>, replaced: Option<u16>) -> Result<(), SealError> {
        let mut others = self.slots.iter().filter(|slot| Some(slot.number) != replaced);
        let costs = others.clone().filter_map(Slot::cost).chain(new.cost());
        if !KdfWork::of(costs).is_within(KdfWork::ANY) {
            return Err(SealError::TotalCost);
        }
        let opens = |slot: &Slot| match *new {
            NewSlot::Passphrase { passphrase, .. } => {
                opens(slot, &self.file_id, &Unlock::Passphrase(passphrase))
            }
            NewSlot::Key(key) => opens(slot, &self.file_id, &Unlock::Key(key)),
            NewSlot::Recipient(public) | NewSlot::RecipientOnce(public) => slot.is_for(public),
        };
        match others.find(|slot| opens(slot)) {
            Some(slot) => Err(SealError::SlotExists(slot.number)),
            None => Ok(()),
        }
    }
}

fn opens(slot: &Slot, file_id: &[u8; 16], unlock: &Unlock<'_>) -> bool {
    matches!(slot.unwrap(unlock, file_id), Ok(Some(_)) | Err(OpenError::Damaged(_)))
}
