//! Shows on the terminal what a command waits for, from half a second on.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Time after which a wait is shown.
const PATIENCE: Duration = Duration::from_millis(500);
/// Interval at which a wait that is shown is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// A wait, shown until it is dropped. Where no progress is shown, it is nothing.
pub(crate) struct Waiting(Option<Shown>);

struct Shown {
    texts: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Begins to wait for what `text` says, at most for `limit`, which is counted down.
    pub(crate) fn begin(output: Output, text: impl Into<String>, limit: Option<Duration>) -> Self {
        if !output.shows_progress() {
            return Self(None);
        }
        let (text, (send, texts)) = (text.into(), channel());
        let thread = thread::spawn(move || show(text, limit, &texts));
        Self(Some(Shown { texts: Some(send), thread: Some(thread) }))
    }

    /// Replaces the text.
    pub(crate) fn tell(&self, text: String) {
        let texts = self.0.as_ref().and_then(|shown| shown.texts.as_ref());
        let _ = texts.map(|texts| texts.send(text));
    }
}

impl Drop for Shown {
    /// Waits until the line is gone, before anything else is printed.
    fn drop(&mut self) {
        self.texts = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Draws a line from [`PATIENCE`] on, until `texts` is closed.
fn show(mut text: String, limit: Option<Duration>, texts: &Receiver<String>) {
    let (began, mut drawn, mut next) = (Instant::now(), None, Instant::now() + PATIENCE);
    loop {
        match texts.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(newer) => text = newer,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let bar: &ProgressBar = drawn.get_or_insert_with(spinner);
                bar.set_message(line(&text, began.elapsed(), limit));
                bar.tick();
                next = Instant::now() + TICK;
            }
        }
    }
    if let Some(bar) = drawn {
        bar.finish_and_clear();
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn line(text: &str, elapsed: Duration, limit: Option<Duration>) -> String {
    match limit {
        Some(limit) => format!("{text}, {} s left", limit.saturating_sub(elapsed).as_secs()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_counted_down() {
        let seconds = Duration::from_secs;
        assert_eq!(line("looking for phone", seconds(4), None), "looking for phone");
        assert_eq!(line("looking for phone", seconds(4), Some(seconds(12))), "looking for phone, 8 s left");
        assert_eq!(line("looking for phone", seconds(13), Some(seconds(12))), "looking for phone, 0 s left");
    }
}
