//! Measures the same change with other programs: `pass git` if `pass` is installed, and in any case
//! the underlying `git` without encryption: files of 64 bytes in a repository, committed on one
//! side and pulled by a clone on the other.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::Result;

pub(super) const ENTRIES: usize = 10_000;
pub(super) const CHANGED: usize = 100;
pub(super) const RUNS: usize = 20;

/// Returns the numbers of the entries to change in a run.
pub(super) fn hundred(run: usize) -> Range<usize> {
    run * CHANGED..(run + 1) * CHANGED
}

/// Measures the installed programs, in milliseconds; returns a line for each missing one.
pub(super) fn measure(folder: &Path, others: &mut BTreeMap<String, Vec<f64>>) -> Result<Vec<String>> {
    let mut absent = Vec::new();
    if is_installed("git") {
        fs::create_dir(folder)?;
        git(&Stores::new(folder)?, others)?;
    } else {
        absent.push("not compared: `git` and `pass git` (git is not installed)".to_owned());
    }
    if !is_installed("pass") {
        absent.push(
            "not compared: `pass git` (pass is not installed); `git` above is the least it can take".into(),
        );
    }
    absent.push("not compared: syncthing (this bench does not drive it)".into());
    Ok(absent)
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A repository and its clone.
struct Stores {
    origin: PathBuf,
    clone: PathBuf,
}

impl Stores {
    fn new(folder: &Path) -> Result<Self> {
        let stores = Self { origin: folder.join("origin"), clone: folder.join("clone") };
        for group in 0..20 {
            fs::create_dir_all(stores.origin.join(format!("Group {group}")))?;
        }
        run(folder, "git", &["init", "--quiet", "--initial-branch=main", "origin"])?;
        stores.change(0..ENTRIES, 0)?;
        stores.commit()?;
        let url = format!("file://{}", stores.origin.display());
        run(folder, "git", &["clone", "--quiet", &url, "clone"])?;
        Ok(stores)
    }

    fn change(&self, numbers: Range<usize>, round: usize) -> Result<()> {
        for number in numbers {
            let file = self.origin.join(format!("Group {}/Site {number:06}", number % 20));
            fs::write(file, format!("{round:02}{number:062}"))?;
        }
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        run(&self.origin, "git", &["add", "--all"])?;
        run(&self.origin, "git", &["commit", "--quiet", "--message=changed"])
    }

    /// Pulls by `program`, `pass` or `git`.
    fn pull(&self, program: &str) -> Result<()> {
        match program {
            "pass" => run(&self.clone, "pass", &["git", "pull", "--quiet"]),
            _ => run(&self.clone, "git", &["pull", "--quiet"]),
        }
    }
}

fn git(stores: &Stores, others: &mut BTreeMap<String, Vec<f64>>) -> Result<()> {
    let programs = if is_installed("pass") { &["git", "pass"][..] } else { &["git"] };
    for (turn, program) in programs.iter().enumerate() {
        for run in 0..RUNS {
            let mut note = |work: &str, start: Instant| {
                let times = others.entry(format!("`{program} pull`, {work}")).or_default();
                times.push(start.elapsed().as_secs_f64() * 1e3);
            };
            stores.change(hundred(turn * RUNS + run), 1)?;
            let start = Instant::now();
            stores.commit()?;
            note(&format!("{CHANGED} of {ENTRIES} files of 64 B: the commit before it"), start);
            let start = Instant::now();
            stores.pull(program)?;
            note(&format!("{CHANGED} of {ENTRIES} files of 64 B"), start);
            let start = Instant::now();
            stores.pull(program)?;
            note("nothing new", start);
        }
    }
    Ok(())
}

/// Runs a program in `folder` to its end, without the user's own settings.
fn run(folder: &Path, program: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("PASSWORD_STORE_DIR", folder);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "bench").env(format!("GIT_{who}_EMAIL"), "bench@localhost");
    }
    let output = command.stderr(Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{program} {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)).into())
}
