//! The content of a snapshot, as bytes.

use core::fmt;

use zeroize::Zeroizing;

/// The content of a snapshot: the payload of its base, as which this can be used, and the changes
/// appended since. All of it is wiped when dropped. `Debug` shows only lengths.
pub struct Payload {
    pub(crate) base: Zeroizing<Vec<u8>>,
    pub(crate) changes: Vec<Zeroizing<Vec<u8>>>,
    pub(crate) is_torn: bool,
}

impl Payload {
    /// Returns whether bytes follow the last change that are no whole one: its writer died or was
    /// cut off before it reported success, or the file was cut short.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Returns the bytes of the base, still wiped when dropped.
    pub fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        core::mem::take(&mut self.base)
    }

    /// Returns the changes since, oldest first.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.changes.iter().map(|changes| &changes[..])
    }
}

impl Drop for Payload {
    /// Clears first: `Zeroizing` wipes a vector's unused capacity in one pass, but its elements one
    /// by one, many times slower.
    fn drop(&mut self) {
        self.base.clear();
    }
}

impl core::ops::Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.base
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes, {} changes)", self.base.len(), self.changes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_its_bytes_and_shows_their_number() {
        let [base, more] = [&b"secret"[..], b"more"].map(|bytes| Zeroizing::new(bytes.to_vec()));
        let payload = Payload { base, changes: vec![more], is_torn: true };
        let shown = format!("{payload:?}");
        assert_eq!((shown.as_str(), &payload[..]), ("Payload(6 bytes, 1 changes)", &b"secret"[..]));
        assert_eq!((payload.changes().collect::<Vec<_>>(), payload.is_torn()), (vec![&b"more"[..]], true));
        assert_eq!(**payload.into_bytes(), *b"secret");
    }
}
