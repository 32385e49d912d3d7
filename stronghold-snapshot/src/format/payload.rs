//! The content of a snapshot, as bytes.

use core::fmt;

use zeroize::Zeroizing;

/// The content of a snapshot, wiped when dropped. `Debug` shows only its length.
pub struct Payload(pub(crate) Zeroizing<Vec<u8>>);

impl Payload {
    /// Returns the bytes, still wiped when dropped.
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
