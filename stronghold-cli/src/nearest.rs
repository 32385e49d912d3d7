//! Finds the record that a person may have meant.

use stronghold_sync::{Location, Selection, escape_untrusted};
use stronghold_vault::Stronghold;

use crate::error::{About, Failure, Kind};

/// Converts the error of a search for a record into a failure about it. If the record does not
/// exist and another one has nearly that name, the hint names it.
pub(crate) fn found<T, E: Into<Failure>>(
    stronghold: &Stronghold,
    at: &Location,
    result: Result<T, E>,
) -> Result<T, Failure> {
    result.about(at).map_err(|failure| {
        let is_missing = failure.kind == Kind::NotFound && !stronghold.contains(at);
        let below = format!("{at}/");
        let everything = Selection::everything();
        let mut others = stronghold.locations(&everything);
        if is_missing && others.any(|other| other.to_string().starts_with(&below)) {
            let at = escape_untrusted(&at.to_string());
            return failure.hint(format!("there are records below it: `stronghold show '{at}'`"));
        }
        match is_missing.then(|| nearest(stronghold, at)).flatten() {
            Some(near) => failure.hint(format!("did you mean {}?", escape_untrusted(&near.to_string()))),
            None => failure,
        }
    })
}

/// Returns the record with the most similar name: one character in four may be wrong, missing or
/// exchanged, and at most two.
fn nearest(stronghold: &Stronghold, at: &Location) -> Option<Location> {
    let text = at.to_string();
    let most = (text.chars().count() / 4).min(2);
    let distance = |near: &Location| {
        let near = near.to_string();
        let differs = near.len().abs_diff(text.len());
        (differs <= 4 * most).then(|| strsim::osa_distance(&near, &text)).filter(|distance| *distance <= most)
    };
    let everything = Selection::everything();
    let near = stronghold.locations(&everything).filter_map(|near| Some((distance(&near)?, near)));
    near.min().map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stronghold_sync::Timestamp;
    use stronghold_vault::Labels;

    #[test]
    fn a_slip_of_two_letters_is_understood_and_no_other_name_is_guessed() {
        let mut stronghold = Stronghold::new("a").unwrap();
        for name in ["wallet/web/mail", "wallet/web/mall", "wallet/web/caf\u{e9}", "a/b/c"] {
            stronghold.write(&name.parse().unwrap(), b"x", Labels::new(), Timestamp::from_millis(1)).unwrap();
        }
        let near = |name: &str| nearest(&stronghold, &name.parse().unwrap()).map(|near| near.to_string());
        for (typed, meant) in [
            ("wallet/web/mial", Some("wallet/web/mail")),
            ("walet/web/mal", Some("wallet/web/mail")),
            ("wallet/web/malls", Some("wallet/web/mall")),
            ("wallet/web/cafe", Some("wallet/web/caf\u{e9}")),
            ("wallet/web/bank", None),
            ("wallet/mail/web", None),
            ("a/b/d", Some("a/b/c")),
            ("x/b/d", None),
        ] {
            assert_eq!(near(typed).as_deref(), meant, "{typed}");
        }
    }
}
