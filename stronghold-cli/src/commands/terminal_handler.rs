//! The person at the terminal, who says yes or no.

use std::{
    io::{BufRead, IsTerminal, Write},
    sync::{Arc, OnceLock},
};

use tokio::sync::{Mutex, mpsc};

/// A terminal that several sessions ask on, one after the other, none for longer than it waits for the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Console {
    lines: Arc<OnceLock<Mutex<mpsc::UnboundedReceiver<String>>>>,
}

impl Console {
    /// Asks; `false` where nobody sits. A question that is dropped unanswered leaves nothing behind: what is typed after it
    /// answers no other.
    pub(super) async fn ask(&self, question: &str) -> bool {
        if !std::io::stdin().is_terminal() {
            return false;
        }
        let mut lines = self.lines.get_or_init(|| Mutex::new(read_lines())).lock().await;
        while lines.try_recv().is_ok() {}
        print(question) && lines.recv().await.is_some_and(|answer| means_yes(&answer))
    }
}

/// One thread reads the terminal for all questions: a read can't be given up, and would swallow the next answer.
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
