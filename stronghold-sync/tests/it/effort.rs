//! Effort of the tests that repeat something: `STRONGHOLD_EFFORT` is a factor of their full counts
//! (0.1 by default), and may set counts by name, as in `STRONGHOLD_EFFORT=1,kills=5000,seed=7`.
//! Part of the other crates' tests too.

const DEFAULT: f64 = 0.1;

/// Returns the factor.
pub(crate) fn factor() -> f64 {
    let effort = effort();
    let factor = effort.split(',').find(|part| !part.is_empty() && !part.contains('='));
    factor.map_or(DEFAULT, |factor| factor.parse().expect("STRONGHOLD_EFFORT is not a factor"))
}

/// Returns the count called `name`: the given one, or the factor of `full`, at least 1.
pub(crate) fn count(name: &str, full: u64) -> u64 {
    given(name).unwrap_or_else(|| ((full as f64 * factor()).ceil() as u64).max(1))
}

/// Returns the number given by name, such as a seed.
pub(crate) fn given(name: &str) -> Option<u64> {
    let effort = effort();
    let number = effort.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    Some(number.parse().expect("STRONGHOLD_EFFORT names something that is not a number"))
}

fn effort() -> String {
    std::env::var("STRONGHOLD_EFFORT").unwrap_or_default()
}
