//! Sealed snapshots as bytes: pure functions that seal a payload and open it again.
//!
//! A [`Sealer`] is the state that remains after opening: see `sealer.rs`.

use core::fmt;

use zeroize::Zeroizing;

use crate::error::{OpenError, SealError};
use crate::format::sealer::Sealer;
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

/// An opened snapshot: its content, and the sealer for its next generation.
#[derive(Debug)]
pub struct Opened {
    /// The sealer, with the master key, slots and generation.
    pub sealer: Sealer,
    /// The content.
    pub payload: Payload,
}

/// The content of a snapshot, wiped when dropped. `Debug` shows only its length.
pub struct Payload(pub(crate) Zeroizing<Vec<u8>>);

impl Payload {
    /// Returns the bytes, still wiped when dropped.
    #[must_use]
    pub fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        core::mem::take(&mut self.0)
    }
}

impl Drop for Payload {
    /// Clears first: `Zeroizing` wipes a vector's unused capacity in one pass, but its elements one
    /// by one, many times slower.
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl core::ops::Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_its_bytes_and_shows_their_number() {
        let payload = Payload(Zeroizing::new(b"secret".to_vec()));
        assert_eq!((format!("{payload:?}").as_str(), &payload[..]), ("Payload(6 bytes)", &b"secret"[..]));
        assert_eq!(**payload.into_bytes(), *b"secret");
    }
}
