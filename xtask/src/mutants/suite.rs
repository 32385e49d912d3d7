//! Runs each test in a process of its own: records the faults it reaches, and whether it notices
//! one.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::built::{Binary, folder, load, save};
use crate::Result;

/// Time limit of a test in the run that records the faults it reaches.
const LONGEST: Duration = Duration::from_secs(300);

/// A test, with the faults that it reaches.
#[derive(Serialize, Deserialize)]
pub(super) struct Test {
    /// Index of its binary.
    binary: usize,
    pub(super) name: String,
    /// Name of its target.
    target: String,
    pub(super) package: String,
    pub(super) seconds: f64,
    passed: bool,
    pub(super) reached: BTreeSet<u32>,
}

/// The outcome of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Passed,
    Failed,
    TimedOut,
}

/// A folder for files of tests, cleared between them.
pub(super) struct Workdir(PathBuf);

impl Workdir {
    pub(super) fn new(name: &str) -> Result<Self> {
        let place = Self(folder().join("places").join(name));
        place.clear();
        fs::create_dir_all(&place.0)?;
        Ok(place)
    }

    pub(super) fn clear(&self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::create_dir_all(&self.0);
    }
}

impl Test {
    /// Returns `target::name`.
    pub(super) fn path(&self) -> String {
        format!("{}::{}", self.target, self.name)
    }

    /// Runs the test with one fault switched on.
    pub(super) fn notices(&self, binaries: &[Binary], fault: u32, place: &Workdir) -> Result<Ended> {
        let limit = Duration::from_secs_f64(self.seconds * 5.0 + 15.0);
        run(&binaries[self.binary], &self.name, place, ("MUTANT", &fault.to_string()), limit)
    }
}

/// Runs every test once, one after the other, and records the faults it reaches. Tests that fail
/// without a fault are printed and left out.
pub(super) fn measure_coverage(binaries: &[Binary], commit_file: &Path) -> Result<Vec<Test>> {
    if let Some(tests) = load::<Vec<Test>>(commit_file) {
        return Ok(tests);
    }
    let place = Workdir::new("cover")?;
    let log = folder().join("reached");
    let mut tests = Vec::new();
    println!("running every test once, to see what it reaches");
    for (index, binary) in binaries.iter().enumerate() {
        for name in names(binary)? {
            let _ = fs::remove_file(&log);
            let started = Instant::now();
            let ended = run(binary, &name, &place, ("MUTANT_LOG", &log.display().to_string()), LONGEST)?;
            let reached = fs::read_to_string(&log).unwrap_or_default();
            let package = binary.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let test = Test {
                binary: index,
                name,
                target: binary.name.clone(),
                package,
                seconds: started.elapsed().as_secs_f64(),
                passed: ended == Ended::Passed,
                reached: reached.lines().filter_map(|line| line.parse().ok()).collect(),
            };
            if !test.passed {
                println!("{} fails without a fault: {ended:?}", test.path());
            }
            tests.push(test);
            place.clear();
        }
    }
    tests.retain(|test| test.passed);
    save(commit_file, &tests)?;
    Ok(tests)
}

/// Returns the tests of a binary, without ignored ones.
fn names(binary: &Binary) -> Result<Vec<String>> {
    let listed = |more: &[&str]| -> Result<Vec<String>> {
        let mut command = Command::new(&binary.program);
        let output = command.arg("--list").args(more).current_dir(&binary.folder).output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    };
    let ignored = listed(&["--ignored"])?;
    Ok(listed(&[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
}

fn run(binary: &Binary, test: &str, place: &Workdir, fault: (&str, &str), limit: Duration) -> Result<Ended> {
    let mut command = Command::new(&binary.program);
    command.args(["--exact", test, "--test-threads=1"]).current_dir(&binary.folder);
    command.env_remove("MUTANT").env_remove("MUTANT_LOG").env(fault.0, fault.1);
    command.env("CARGO_MANIFEST_DIR", &binary.folder).env("TMPDIR", &place.0).env("RUST_BACKTRACE", "0");
    command.env("PROPTEST_FAILURE_PERSISTENCE", "off");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let ends = Instant::now() + limit;
    let status: Option<ExitStatus> = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() > ends => break None,
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    // Processes that the test has started are killed with it.
    let group = format!("-{}", child.id());
    let mut kill = Command::new("kill");
    kill.args(["-KILL", "--", &group]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    child.wait()?;
    Ok(match status {
        None => Ended::TimedOut,
        Some(status) if status.success() => Ended::Passed,
        Some(_) => Ended::Failed,
    })
}
