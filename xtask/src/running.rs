//! Runs a process: reads its output as it comes, watches its memory, and kills it on drop.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::Result;

/// Time after which a process counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running process, killed on drop.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    peak: Option<u64>,
}

/// The result of a process that has ended.
pub(crate) struct Ended {
    /// Exit code, or `None` if a signal ended the process.
    pub(crate) exit: Option<i32>,
    /// Standard output that was not taken as events, newlines included.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// Peak memory in kB, if the system reports it.
    pub(crate) peak: Option<u64>,
}

impl Process {
    /// Starts a process and writes all of its standard input.
    pub(crate) fn start(mut command: Command, stdin: &[u8]) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A process that ends without reading its input reports that by its exit code.
            let _ = pipe.write_all(stdin);
        }
        let (send, lines) = channel();
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
                let _ = send.send(std::mem::take(&mut line));
            }
        });
        let mut stderr = child.stderr.take().ok_or("no standard error")?;
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { child, lines, complaints: Some(complaints), peak: None })
    }

    /// Returns the next line of output, as JSON.
    pub(crate) fn event(&mut self) -> Result<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(serde_json::from_str(&line)?),
            Err(_) => {
                let _ = self.child.kill();
                Err(format!("a process ended or hung without a line of output: {}", self.complaints()).into())
            }
        }
    }

    /// Waits for the process to end.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let deadline = Instant::now() + PATIENCE;
        let exit = loop {
            self.peak = self.peak_memory().or(self.peak);
            if let Some(status) = self.child.try_wait()? {
                break status.code();
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                return Err(format!("a process hung: {}", self.complaints()).into());
            }
            thread::sleep(Duration::from_millis(1));
        };
        Ok(Ended { exit, stdout: self.lines.iter().collect(), stderr: self.complaints(), peak: self.peak })
    }

    /// Returns the peak memory so far, in kB: `VmHWM` of proc(5).
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    }

    fn complaints(&mut self) -> String {
        self.complaints.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
