//! Padmé padding (Nikitin et al., PURBs, PoPETs 2019): rounds sizes up so that they reveal little,
//! at a cost below 12 %.

/// Returns the padded length of `len` bytes: at most 12 % more, and only O(log log) bits of the
/// length remain visible.
pub fn padme_len(len: u64) -> u64 {
    let exponent = u64::from(len.checked_ilog2().unwrap_or(0));
    let kept_bits = u64::from(exponent.checked_ilog2().unwrap_or(0)) + 1;
    let mask = (1u64 << exponent.saturating_sub(kept_bits)) - 1;
    len.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_examples_of_the_paper_and_never_shrinks() {
        assert_eq!(padme_len(0), 0);
        assert_eq!(padme_len(1), 1);
        assert_eq!(padme_len(9), 10);
        assert_eq!(padme_len(1000), 1024);
        for (len, padded) in [(2, 2), (8, 8), (17, 18), (33, 36), (65, 72), (4097, 4352), (1 << 40, 1 << 40)]
        {
            assert_eq!(padme_len(len), padded, "{len}");
        }
        assert_eq!(padme_len(u64::MAX), u64::MAX << 57, "it does not overflow");
        for len in 0..100_000u64 {
            let padded = padme_len(len);
            assert!(padded >= len && (len < 16 || padded - len <= len / 8), "{len} -> {padded}");
            assert_eq!(padme_len(padded), padded, "{len}");
        }
    }
}
