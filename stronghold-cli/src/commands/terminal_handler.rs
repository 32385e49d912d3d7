//! Asks yes-or-no questions on the terminal of `serve`.

use std::{
    io::{BufRead, IsTerminal, Write},
    sync::{Arc, OnceLock},
};

use tokio::sync::{Mutex, mpsc};

/// A terminal shared by several sessions. They ask one after the other, and a session holds the
/// terminal only while it waits for its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Console {
    lines: Arc<OnceLock<Mutex<mpsc::UnboundedReceiver<String>>>>,
}

impl Console {
    /// Returns whether `question` was answered with yes; `false` if stdin is not a terminal. If the
    /// future is dropped, a late answer is discarded and answers no other question.
    pub(super) async fn ask(&self, question: &str) -> bool {
        if !std::io::stdin().is_terminal() {
            return false;
        }
        let mut lines = self.lines.get_or_init(|| Mutex::new(read_lines())).lock().await;
        while lines.try_recv().is_ok() {}
        print(question) && lines.recv().await.is_some_and(|answer| means_yes(&answer))
    }
}

/// Reads the terminal on one thread for all questions: a blocking read can't be cancelled, and
/// would swallow the next answer.
fn read_lines() -> mpsc::UnboundedReceiver<String> {
    let (send, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let typed = std::io::stdin().lock().lines();
        typed.map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    lines
}

fn print(question: &str) -> bool {
    let mut err = std::io::stderr();
    write!(err, "{question}").and_then(|()| err.flush()).is_ok()
}

fn means_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes")
}
