//! Random bytes from the operating system, and the one error of obtaining them.

/// The system returned no random bytes, so no key, salt or nonce can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system returned no random bytes: {0}")]
pub struct RandomnessError(getrandom::Error);

impl RandomnessError {
    /// The system returned bytes that no key can be made of.
    #[doc(hidden)]
    pub const UNUSABLE: Self = Self(getrandom::Error::UNEXPECTED);
}

/// Fills `bytes` with random bytes from the operating system.
///
/// # Errors
/// [`RandomnessError`].
#[doc(hidden)]
pub fn fill_random(bytes: &mut [u8]) -> Result<(), RandomnessError> {
    getrandom::fill(bytes).map_err(RandomnessError)
}

/// Returns random bytes from the operating system.
///
/// # Errors
/// [`RandomnessError`].
#[doc(hidden)]
pub fn random<const N: usize>() -> Result<[u8; N], RandomnessError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WriteError;

    #[test]
    fn the_reason_is_in_the_text_of_each_error_above() {
        let reason = getrandom::Error::UNEXPECTED.to_string();
        let error = RandomnessError::UNUSABLE;
        assert_eq!(error.to_string(), format!("the system returned no random bytes: {reason}"));
        assert_eq!(WriteError::from(error).to_string(), error.to_string());
    }

    #[test]
    fn no_two_fills_are_the_same() {
        assert_ne!(random::<32>(), random::<32>());
    }
}
