//! Builds a copy of the tree with every fault in it, once.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plant::{Fault, plant};
use crate::{Result, cargo::root};

const SWITCH: &str = include_str!("switch.txt");
/// Maximum number of builds, each without the faults that did not compile before.
const BUILDS: usize = 40;

/// The build of a commit.
#[derive(Serialize, Deserialize)]
pub(super) struct Built {
    pub(super) commit: String,
    pub(super) faults: Vec<Fault>,
    pub(super) binaries: Vec<Binary>,
}

/// The test binary of one target.
#[derive(Serialize, Deserialize)]
pub(super) struct Binary {
    pub(super) program: PathBuf,
    pub(super) name: String,
    /// Folder of its package.
    pub(super) folder: PathBuf,
}

/// Returns the folder that keeps the copy and its build.
pub(super) fn folder() -> PathBuf {
    root().join("target/mutants")
}

/// Runs git at the root of the repository; returns its output.
pub(super) fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).current_dir(root()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`git {}` failed", args.join(" ")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds the last commit, unless it was built last time.
pub(super) fn built() -> Result<Built> {
    let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
    let kept = folder().join("built.json");
    if let Some(built) = load::<Built>(&kept).filter(|built| built.commit == commit) {
        return Ok(built);
    }
    let tree = folder().join("tree");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(folder())?;
    git(&["clone", "--quiet", "--no-hardlinks", &root().display().to_string(), &tree.display().to_string()])?;
    // Pins this commit, whatever is committed meanwhile.
    git(&["-C", &tree.display().to_string(), "checkout", "--quiet", "--detach", &commit])?;
    let sources = sources(&commit)?;
    println!(
        "building {} files with all faults in them; the first time, this takes some minutes",
        sources.len()
    );
    let mut left_out = BTreeSet::new();
    for _ in 0..BUILDS {
        let faults = write(&tree, &commit, &sources, &left_out)?;
        match build(&tree)? {
            Ok(binaries) => {
                println!("{} faults planted, {} left out that do not compile", faults.len(), left_out.len());
                let built = Built { commit, faults, binaries };
                save(&kept, &built)?;
                return Ok(built);
            }
            Err(at) => left_out.extend(at),
        }
    }
    Err("too many faults do not compile".into())
}

/// Reads a kept file; returns `None` if it is missing or of another version.
pub(super) fn load<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(super) fn save<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(fs::write(path, serde_json::to_vec(value)?)?)
}

/// Returns the sources of the crates, without tests.
fn sources(commit: &str) -> Result<Vec<String>> {
    let is_source = |file: &&str| {
        let mut parts = file.split('/');
        let of_crate = parts.next().is_some_and(|name| name.starts_with("stronghold-"));
        let is_test = |part: &str| matches!(part.trim_end_matches(".rs"), "test" | "tests");
        of_crate && parts.next() == Some("src") && file.ends_with(".rs") && !parts.any(is_test)
    };
    Ok(git(&["ls-tree", "-r", "--name-only", commit])?.lines().filter(is_source).map(str::to_owned).collect())
}

/// Writes the sources with all faults except those left out. An unchanged file is not written, so
/// it is not built again.
fn write(tree: &Path, commit: &str, sources: &[String], left_out: &BTreeSet<u32>) -> Result<Vec<Fault>> {
    let (mut next, mut faults) = (1, Vec::new());
    for file in sources {
        let text = git(&["show", &format!("{commit}:{file}")])?;
        let mut planted = plant(file, &text, &mut next, left_out, &mut faults)?;
        if file == "stronghold-sync/src/lib.rs" {
            planted += SWITCH;
        }
        let path = tree.join(file);
        if fs::read_to_string(&path)? != planted {
            fs::write(path, planted)?;
        }
    }
    Ok(faults)
}

/// Builds all tests, or returns the faults that do not compile.
fn build(tree: &Path) -> Result<std::result::Result<Vec<Binary>, BTreeSet<u32>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--workspace", "--exclude=xtask", "--tests", "--no-run", "--locked"]);
    command.args(["--no-fail-fast", "--message-format=json"]).current_dir(tree);
    command.env("CARGO_TARGET_DIR", folder().join("target")).stdin(Stdio::null());
    let output = command.output()?;
    let (mut binaries, mut broken, mut other) = (Vec::new(), BTreeSet::new(), None);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        binaries.extend(test_binary(&message));
        if message["message"]["level"] == "error" {
            match culprit(tree, &message["message"]) {
                Some(fault) => _ = broken.insert(fault),
                None => other = message["message"]["rendered"].as_str().map(str::to_owned).or(other),
            }
        }
    }
    match (output.status.success(), broken.is_empty()) {
        (true, _) => Ok(Ok(binaries)),
        (false, false) => Ok(Err(broken)),
        (false, true) => {
            Err(format!("what was planted can't be built: {}", other.unwrap_or_default()).into())
        }
    }
}

fn test_binary(message: &Value) -> Option<Binary> {
    if message["profile"]["test"] != true {
        return None;
    }
    Some(Binary {
        program: message["executable"].as_str()?.into(),
        name: message["target"]["name"].as_str()?.into(),
        folder: Path::new(message["manifest_path"].as_str()?).parent()?.into(),
    })
}

/// Returns the last fault that begins before or inside the span of an error.
fn culprit(tree: &Path, error: &Value) -> Option<u32> {
    let spans = error["spans"].as_array()?;
    let span = spans.iter().find(|span| span["is_primary"] == true)?;
    let text = fs::read(tree.join(span["file_name"].as_str()?)).ok()?;
    let place = |name: &str| usize::try_from(span[name].as_u64()?).ok();
    let (start, end) = (place("byte_start")?, place("byte_end")?);
    let before = String::from_utf8_lossy(text.get(start.saturating_sub(400)..end)?).into_owned();
    let (_, after) = before.rsplit_once("__fault(")?;
    after.split(')').next()?.parse().ok()
}
