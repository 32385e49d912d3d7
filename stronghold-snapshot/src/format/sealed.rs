//! Sealed snapshots as bytes: pure functions that seal a payload and open it again.
//!
//! A [`Sealer`] is the state that remains after opening: see `sealer.rs`.

use crate::error::{Damage, OpenError, SealError};
use crate::format::header::ParsedHeader;
use crate::format::sealer::{Opened, Sealer};
use crate::format::slot::{NewSlot, Unlock};

/// Seals `payload` as the first generation of a new file that each of `slots` opens.
///
/// # Errors
/// [`SealError`]; see [`Sealer::create`] and [`Sealer::seal_next`].
pub fn seal(slots: &[NewSlot<'_>], payload: &[u8]) -> Result<Vec<u8>, SealError> {
    Sealer::create(slots)?.seal_next(payload)
}

/// Opens a sealed snapshot. [`open_owned`] avoids the copy that this makes.
///
/// # Errors
/// [`OpenError`]: distinguishes a file that is not a snapshot, a newer version, a wrong key and a
/// damaged file.
pub fn open(bytes: &[u8], unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
    open_owned(bytes.to_vec(), unlock)
}

/// Opens a sealed snapshot in place: its bytes become the payload.
///
/// # Errors
/// See [`open`].
pub fn open_owned(bytes: Vec<u8>, unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
    Sealer::open(bytes, unlock)
}

/// Opens a sealed snapshot as [`open_owned`] does. Nothing may follow its body.
pub(crate) fn open_alone(bytes: Vec<u8>, unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
    let end = ParsedHeader::parse(&bytes)?.body_end();
    match bytes.len() as u64 > end {
        true => Err(OpenError::Damaged(Damage::Body)),
        false => open_owned(bytes, unlock),
    }
}
