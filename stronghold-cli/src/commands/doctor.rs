//! Checks a snapshot and its surroundings without a key. Each finding is `ok`, or `warn` with what
//! to do.

use std::{fs, path::Path};

use serde_json::{Value, json};
use stronghold_snapshot::{FileStatus, Inspection};
use stronghold_sync::escape_untrusted;

use super::unlock::described;
use crate::agent::{Agent, AgentError};
use crate::context::{Context, is_there};
use crate::error::{Failure, Kind, shown};

/// Result of one check.
struct Finding {
    check: &'static str,
    ok: bool,
    message: String,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, ok: true, message: message.into() }
    }

    fn warn(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, ok: false, message: message.into() }
    }

    fn word(&self) -> &'static str {
        if self.ok { "ok" } else { "warn" }
    }

    fn object(&self) -> Value {
        json!({ "check": self.check, "ok": self.ok, "message": self.message })
    }

    fn line(&self) -> String {
        format!("{:<4}  {}: {}", self.word(), self.check, self.message)
    }
}

pub(super) fn doctor(context: &Context) -> Result<(), Failure> {
    let path = context.path()?;
    let mut findings = vec![locked_memory(), notes(context, &path)];
    if is_there(&path)? {
        findings.push(agent(context, &path));
        findings.push(snapshot(&path));
        findings.extend(beside(&path));
    } else {
        findings.push(Finding::warn("snapshot", format!("there is none at {}", shown(&path))));
    }
    let objects: Vec<Value> = findings.iter().map(Finding::object).collect();
    let print = || findings.iter().map(Finding::line).collect();
    context.output.result(&json!({ "findings": objects }), print)?;
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        1 => Err(warnings("one thing is not as it should be")),
        many => Err(warnings(&format!("{many} things are not as they should be"))),
    }
}

fn warnings(message: &str) -> Failure {
    Failure::new(Kind::Warnings, message).hint("see the lines that begin with `warn`")
}

fn locked_memory() -> Finding {
    let held = stronghold_vault::locked_memory_status();
    match held.refusal {
        Some(refusal) => Finding::warn("locked memory", refusal),
        None => {
            let kib = held.locked / 1024;
            let says = format!("keys are kept out of swap and core dumps: {kib} KiB are locked for them");
            Finding::ok("locked memory", says)
        }
    }
}

/// Checks whether an old copy in the snapshot's place would be noticed: this device can write
/// notes, and read those of this snapshot.
fn notes(context: &Context, path: &Path) -> Finding {
    let Some(seen) = context.rollback_guard() else {
        return Finding::warn("rollback", "this system names no folder for notes of what was seen");
    };
    match seen.probe().and_then(|()| seen.readable(path)) {
        Ok(()) => {
            let folder = shown(seen.folder());
            Finding::ok("rollback", format!("old copies put in place of a snapshot are noticed, by {folder}"))
        }
        Err(error) => {
            let error = escape_untrusted(&error.to_string());
            Finding::warn(
                "rollback",
                format!("an old copy in place of the snapshot would go unnoticed: {error}"),
            )
        }
    }
}

fn agent(context: &Context, path: &Path) -> Finding {
    let asked = context.place(path).map_err(AgentError::from).and_then(|place| Agent::at(&place).left());
    match asked {
        Ok(left) => Finding::ok("agent", format!("holds the key: locks {}", described(left))),
        Err(AgentError::NotRunning | AgentError::Locked) => Finding::ok("agent", "holds no key"),
        Err(error) => Finding::warn("agent", error.to_string()),
    }
}

fn snapshot(path: &Path) -> Finding {
    match Inspection::of(path) {
        Ok(found) if found.unfinished > 0 => {
            let Inspection { generation, unfinished, .. } = found;
            let says = format!(
                "its last change is cut short: {unfinished} bytes behind generation {generation}, which the next write \
                 removes"
            );
            Finding::warn("snapshot", says)
        }
        Ok(found) => {
            let (slots, len) = (found.slots.len(), found.len);
            let says = format!(
                "generation {}, {len} bytes, {slots} that open it; `verify` reads all of it",
                found.generation
            );
            Finding::ok("snapshot", says)
        }
        Err(error) => Finding::warn("snapshot", escape_untrusted(&error.to_string())),
    }
}

/// Checks permissions of the files and their folder, the current writer and leftover files.
fn beside(path: &Path) -> Vec<Finding> {
    let found = match FileStatus::of(path) {
        Ok(found) => found,
        Err(error) => return vec![Finding::warn("folder", escape_untrusted(&error.to_string()))],
    };
    let files = [&found.file].into_iter().chain(&found.lock).chain(&found.temporary);
    let open: Vec<String> = files.filter_map(|file| exposure(file)).collect();
    let permissions = match open.is_empty() {
        true => Finding::ok("permissions", "only its owner may read it and what is beside it"),
        false => Finding::warn("permissions", open.join("; ")),
    };
    let left = if found.writer.is_none() { found.temporary.len() } else { 0 };
    let left_over = match left {
        0 => Finding::ok("left over", "none"),
        left => {
            let says = format!("{left} temporary files of writers that died; the next writer removes them");
            Finding::warn("left over", says)
        }
    };
    let writer =
        found.writer.map_or_else(|| "nobody is writing".into(), |id| format!("process {id} is writing"));
    vec![permissions, folder(&found.file), Finding::ok("writer", writer), left_over]
}

#[cfg(unix)]
fn exposure(file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let found = match fs::symlink_metadata(file) {
        Ok(found) => found,
        Err(error) => return Some(format!("{}: {error}", shown(file))),
    };
    let (file, mode) = (shown(file), found.mode() & 0o777);
    if !found.is_file() {
        return Some(format!("{file} is not a file: look who put it there"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Some(format!("{file} is another user's"));
    }
    (mode & 0o077 != 0).then(|| format!("others may use it (mode {mode:o}): chmod 600 {file}"))
}

#[cfg(not(unix))]
fn exposure(_: &Path) -> Option<String> {
    None
}

#[cfg(unix)]
fn folder(file: &Path) -> Finding {
    use std::os::unix::fs::MetadataExt;
    let folder = file.parent().unwrap_or(file);
    match fs::metadata(folder) {
        // In a sticky folder, other users can't remove files that are not theirs.
        Ok(found) if found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0 => {
            let mode = found.mode() & 0o7777;
            let says =
                format!("others may exchange what is in it (mode {mode:o}): chmod go-w {}", shown(folder));
            Finding::warn("folder", says)
        }
        Ok(_) => Finding::ok("folder", "only its owner may exchange what is in it"),
        Err(error) => Finding::warn("folder", format!("{}: {error}", shown(folder))),
    }
}

#[cfg(not(unix))]
fn folder(_: &Path) -> Finding {
    Finding::ok("folder", "as the system has it")
}
