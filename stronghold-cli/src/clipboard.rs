//! Copies values to the clipboard for a while.
//!
//! On most systems a selection lasts as long as its owner, so a process of its own holds it: it is
//! given the value through a pipe, and clears the clipboard when the time is over, unless something
//! else was copied meanwhile.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::error::{Failure, Kind};
use crate::{background, clock, terminal};

/// Parses the time for which a value is held; empty is 45 seconds.
pub(crate) fn hold_time(text: &str) -> Result<Duration, String> {
    if text.is_empty() { Ok(Duration::from_secs(45)) } else { clock::length(text) }
}

/// Copies a value to the clipboard, for this time. Returns when it is there.
pub(crate) fn copy(value: &[u8], time: Duration) -> Result<(), Failure> {
    text(value)?;
    let args = ["hold-clipboard", "--for", &format!("{}ms", time.as_millis())];
    let started = background::start(args, value).map_err(|error| failed(&error.to_string()))?;
    started.map_err(|reason| failed(&reason))
}

/// Sends a value to the clipboard of the terminal (OSC 52).
pub(crate) fn copy_by_terminal(value: &[u8]) -> Result<(), Failure> {
    let encoded = Zeroizing::new(STANDARD.encode(text(value)?));
    terminal::send(&format!("\u{1b}]52;c;{}\u{7}", *encoded))
}

/// Holds a value in the clipboard, in the process that [`copy`] starts. `begun` is called when it
/// is there.
#[cfg(feature = "clipboard")]
pub(crate) fn hold(
    value: &[u8],
    time: Duration,
    begun: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    use arboard::SetExtLinux;
    let (text, until) = (text(value)?, std::time::Instant::now() + time);
    let failed = |error: arboard::Error| Failure::new(Kind::Clipboard, error.to_string());
    let mut clipboard = arboard::Clipboard::new().map_err(failed)?;
    // Of each setting: programs that keep a history see the first one, too.
    #[cfg(target_os = "linux")]
    clipboard.set().exclude_from_history().text(text).map_err(failed)?;
    #[cfg(not(target_os = "linux"))]
    clipboard.set_text(text).map_err(failed)?;
    begun()?;
    #[cfg(target_os = "linux")]
    clipboard.set().exclude_from_history().wait_until(until).text(text).map_err(failed)?;
    let is_held = |clipboard: &mut arboard::Clipboard| {
        clipboard.get_text().map(Zeroizing::new).is_ok_and(|held| *held == text)
    };
    // X11 has waited; elsewhere the system holds the text, or a thread of this process.
    if is_held(&mut clipboard) {
        std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
    }
    if is_held(&mut clipboard) {
        clipboard.clear().map_err(failed)?;
    }
    Ok(())
}

/// Fails: this program was built without a clipboard.
#[cfg(not(feature = "clipboard"))]
pub(crate) fn hold(
    _value: &[u8],
    _time: Duration,
    _begun: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    Err(Failure::new(Kind::Clipboard, "this program was built without the feature `clipboard`"))
}

fn text(value: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(value).map_err(|_| {
        Failure::usage("the value is not text; nothing was copied", "write it to a file: --output FILE")
    })
}

fn failed(reason: &str) -> Failure {
    Failure::new(Kind::Clipboard, format!("the value can't be copied: {reason}"))
        .hint("over ssh, --osc52 sends it to the terminal's clipboard, which keeps it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_held_for_45_seconds_unless_said_otherwise() {
        assert_eq!(hold_time(""), Ok(Duration::from_secs(45)));
        assert_eq!(hold_time("10s"), Ok(Duration::from_secs(10)));
        assert!(hold_time("soon").is_err());
    }

    #[test]
    fn only_text_is_copied() {
        assert_eq!(copy(b"\xff", Duration::ZERO).unwrap_err().kind, Kind::Usage);
        assert_eq!(copy_by_terminal(b"\xff").unwrap_err().kind, Kind::Usage);
    }
}
