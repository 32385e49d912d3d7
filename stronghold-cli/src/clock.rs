//! Times as people read and write them: local, unless they say otherwise.

use std::time::Duration;

use jiff::{SignedDuration, Span, ZonedDateTime, civil, tz::TimeZone};
use stronghold_snapshot::Timestamp;

/// Formats a time as local date and time. A time that can't be shown, which a peer may send, is
/// `?`.
pub(crate) fn time(time: Timestamp) -> String {
    formatted(time, "%Y-%m-%d %H:%M:%S")
}

/// Formats the local date of a time, as [`time`] does.
pub(crate) fn day(time: Timestamp) -> String {
    formatted(time, "%Y-%m-%d")
}

fn formatted(time: Timestamp, format: &str) -> String {
    let moment =
        i64::try_from(time.as_millis()).ok().and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
    moment.map_or_else(
        || "?".into(),
        |moment| moment.to_zoned_datetime(TimeZone::system()).strftime(format).to_string(),
    )
}

/// Parses a time span from now, such as `30days`, a day, which begins here at midnight, or a time:
/// local, or with its distance from UTC.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    let span = || ZonedDateTime::now().checked_add(text.parse::<Span>().ok()?).ok();
    let instant = || Some(text.parse::<jiff::Timestamp>().ok()?.to_zoned_datetime(TimeZone::UTC));
    let local = || text.parse::<civil::DateTime>().ok()?.to_zoned_datetime(TimeZone::system()).ok();
    let moment = span().or_else(instant).or_else(local)?;
    let millis = moment.timestamp().as_millisecond();
    Some(Timestamp::from_millis(millis.try_into().unwrap_or(0)))
}

/// Parses a length of time, such as `500ms` or `1s`.
pub(crate) fn length(text: &str) -> Result<Duration, String> {
    let length = text.parse::<SignedDuration>().ok().and_then(|length| Duration::try_from(length).ok());
    length.ok_or_else(|| "a length of time is such as 500ms or 1s".into())
}

/// Formats a length of time in its two largest units, rounded up to seconds.
pub(crate) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = [(hours, "h"), (minutes, "min"), (seconds, "s")];
    let mut parts = parts.into_iter().skip_while(|(number, _)| *number == 0).take(2);
    let parts: Vec<String> = parts
        .by_ref()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_told_in_two_units() {
        for (milliseconds, expected) in [
            (0, "0 s"),
            (1, "1 s"),
            (59_000, "59 s"),
            (59_001, "1 min"),
            (61_000, "1 min 1 s"),
            (900_000, "15 min"),
            (3_600_000, "1 h"),
            (3_601_000, "1 h"),
            (28_740_000, "7 h 59 min"),
            (90_000_000, "25 h"),
        ] {
            assert_eq!(spoken(Duration::from_millis(milliseconds)), expected, "{milliseconds}");
        }
    }

    #[test]
    fn times_are_shown_up_to_the_last_year() {
        assert_eq!(time(Timestamp::default()).len(), "1970-01-01 00:00:00".len());
        assert_eq!(time(Timestamp::MAX), "?");
        assert_eq!(time(Timestamp::from_millis(253_402_300_800_000)), "?");
    }

    #[test]
    fn spans_days_and_times_are_moments() {
        assert_eq!(moment("2030-01-31T12:00:00Z"), Some(Timestamp::from_millis(1_896_091_200_000)));
        assert_eq!(moment("2030-01-31T12:00:00+01:00"), Some(Timestamp::from_millis(1_896_087_600_000)));
        let (midnight, noon) = (moment("2030-01-31").unwrap(), moment("2030-01-31 12:00").unwrap());
        assert_eq!(noon.since(midnight), Duration::from_secs(12 * 3_600));
        assert_eq!(
            (time(midnight), time(noon)),
            ("2030-01-31 00:00:00".into(), "2030-01-31 12:00:00".into())
        );
        let now = jiff::Timestamp::now().as_millisecond() as u64;
        for (text, at_least) in [("30days", 29 * 24), ("2 weeks", 13 * 24), ("1h", 0), ("1s", 0)] {
            assert!(moment(text).unwrap() > Timestamp::from_millis(now + at_least * 3_600_000), "{text}");
        }
        for text in ["", "soon", "30", "2030-02-31", "12:00"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn lengths_are_positive() {
        assert_eq!(length("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(length("1s"), Ok(Duration::from_secs(1)));
        for text in ["-1s", "1", "long"] {
            assert!(length(text).is_err(), "{text}");
        }
    }
}
