//! Runs a process: reads its output as it comes, watches its memory, and kills it on drop. The
//! tests of the command use it, and the demo and the benches of xtask.

use std::{
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Far longer than any command takes, so that only a hang reaches it.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A running process, killed on drop.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<Vec<u8>>,
    stderr: Option<JoinHandle<String>>,
    peak: Option<u64>,
}

/// The result of a process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code, or -1 if a signal ended the process.
    pub(crate) exit: i32,
    /// Standard output that was not taken as events.
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// Peak memory in kB, if the system reports it.
    pub(crate) peak: Option<u64>,
}

impl Process {
    /// Starts a process and writes all of its standard input.
    pub(crate) fn start(command: &mut Command, stdin: &[u8]) -> Result<Self> {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A process that ends without reading its input reports that by its exit code.
            let _ = pipe.write_all(stdin);
        }
        let (send, lines) = channel();
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        thread::spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let _ = send.send(std::mem::take(&mut line));
            }
        });
        let mut stderr = child.stderr.take().ok_or("no standard error")?;
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { child, lines, stderr: Some(stderr), peak: None })
    }

    /// Returns the next line of output, as JSON.
    pub(crate) fn event(&mut self) -> Result<Value> {
        match self.lines.recv_timeout(TIMEOUT) {
            Ok(line) => Ok(serde_json::from_slice(&line)?),
            Err(_) => {
                self.kill();
                Err(format!("a process ended or hung without a line of output: {}", self.stderr()).into())
            }
        }
    }

    /// Kills the process, unless it has ended; [`end`](Self::end) then returns how it ended.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Waits for the process to end.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            self.peak = self.peak_memory().or(self.peak);
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                self.kill();
                return Err(format!("a process hung: {}", self.stderr()).into());
            }
            thread::sleep(Duration::from_millis(1));
        };
        Ok(Ended {
            exit: status.code().unwrap_or(-1),
            stdout: self.lines.iter().flatten().collect(),
            stderr: self.stderr(),
            peak: self.peak,
        })
    }

    /// Returns the peak memory so far, in kB: `VmHWM` of proc(5).
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    }

    fn stderr(&mut self) -> String {
        self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
