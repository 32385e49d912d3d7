//! The snapshot itself: whether it can be read, what opens it, and what surrounds it.

use std::{fs, path::Path};

use serde_json::{Value, json};
use stronghold_snapshot::{Home, NewSlot, PassphraseCost, SlotKind, Surroundings};

use super::{Context, is_there};
use crate::{
    args::PassphraseArgs,
    error::{Failure, shown},
    secrets::{Secret, Source},
};

pub(super) fn verify(context: &Context) -> Result<(), Failure> {
    let home = context.open()?;
    let revisions = home.stronghold().verify()?;
    if !home.stronghold().log().is_intact() {
        return Err(Failure::new("damaged", crate::error::DAMAGED, "the log's chain is broken")
            .hint("the records are whole; the log was changed by someone who has the key"));
    }
    let records = home.stronghold().list(&stronghold_sync::Selection::everything())?.len();
    let object = json!({
        "records": records, "revisions": revisions, "generation": home.file().lineage().generation(),
    });
    context
        .output
        .result(&object, || vec![format!("{records} records, {revisions} revisions: all can be read")])
}

pub(super) fn passphrase(context: &Context, args: &PassphraseArgs) -> Result<(), Failure> {
    let (mut home, given) = context.open_and_secret()?;
    if let Some(number) = args.remove {
        remove_slot(&mut home, number)?;
    } else if !args.list {
        add_slot(&mut home, args, &given)?;
    }
    print_slots(context, &home)
}

/// Slots are counted from one, as people do.
fn remove_slot(home: &mut Home, number: usize) -> Result<(), Failure> {
    let there_are = home.file().lineage().slots().len();
    let index = number.checked_sub(1).filter(|index| *index < there_are).ok_or_else(|| {
        Failure::usage(format!("there is no slot {number}"), "see `stronghold passphrase --list`")
    })?;
    if there_are == 1 {
        let message = "this is the only one: without it nobody could open the snapshot";
        return Err(Failure::usage(message, "add another one first: stronghold passphrase --add"));
    }
    Ok(home.update_slots(|lineage| lineage.remove_slot(index))?)
}

fn add_slot(home: &mut Home, args: &PassphraseArgs, given: &Secret) -> Result<(), Failure> {
    let files = (args.new_passphrase_file.as_deref(), args.new_key_file.as_deref());
    let new = Source::of_files(files.0, files.1).new_secret("New passphrase: ")?;
    let cost = match args.calibrate {
        Some(time) => {
            PassphraseCost::calibrated(time.into()).map_err(stronghold_snapshot::HomeError::from)?
        }
        None => PassphraseCost::default(),
    };
    let slot = match &new {
        Secret::Passphrase(passphrase) => NewSlot::Passphrase { passphrase, cost },
        Secret::Key(_) => new.new_slot(),
    };
    let replaced = match args.add {
        true => None,
        false => home.file().lineage().find_slot(&given.unlock()).ok().flatten(),
    };
    Ok(home.update_slots(|lineage| {
        lineage.add_slot(&slot)?;
        replaced.map_or(Ok(()), |index| lineage.remove_slot(index))
    })?)
}

fn print_slots(context: &Context, home: &Home) -> Result<(), Failure> {
    let slots: Vec<(usize, SlotKind)> = (1..).zip(home.file().lineage().slots()).collect();
    let objects: Vec<Value> = slots.iter().map(|(number, kind)| slot_object(*number, *kind)).collect();
    context
        .output
        .result(&json!({ "slots": objects }), || slots.iter().map(|(n, kind)| slot_line(*n, *kind)).collect())
}

fn slot_object(number: usize, kind: SlotKind) -> Value {
    match kind {
        SlotKind::Passphrase(cost) => json!({
            "slot": number, "kind": "passphrase",
            "memory_kib": cost.memory_kib(), "passes": cost.passes(), "lanes": cost.lanes(),
        }),
        SlotKind::Key => json!({ "slot": number, "kind": "key" }),
        SlotKind::Recipient => json!({ "slot": number, "kind": "recipient" }),
    }
}

fn slot_line(number: usize, kind: SlotKind) -> String {
    match kind {
        SlotKind::Passphrase(cost) => {
            let (mib, passes, lanes) = (cost.memory_kib().div_ceil(1024), cost.passes(), cost.lanes());
            format!("{number}  passphrase (Argon2id, {mib} MiB, {passes} passes, {lanes} lanes)")
        }
        SlotKind::Key => format!("{number}  key"),
        SlotKind::Recipient => format!("{number}  recipient"),
    }
}

/// One thing that was looked at, and whether it is as it should be.
struct Finding {
    what: &'static str,
    fine: bool,
    says: String,
}

pub(super) fn doctor(context: &Context) -> Result<(), Failure> {
    let path = context.path()?;
    let mut findings = vec![locked_memory(), memory_of_generations(context)];
    if is_there(&path)? {
        findings.push(permissions(&path));
        findings.extend(beside(&path));
    } else {
        let says = format!("there is none at {}", shown(&path));
        findings.push(Finding { what: "snapshot", fine: false, says });
    }
    let objects: Vec<Value> = findings
        .iter()
        .map(|finding| json!({ "what": finding.what, "fine": finding.fine, "says": finding.says }))
        .collect();
    context.output.result(&json!({ "findings": objects }), || {
        let line = |finding: &Finding| {
            let mark = if finding.fine { "fine" } else { "look" };
            format!("{mark}  {}: {}", finding.what, finding.says)
        };
        findings.iter().map(line).collect()
    })
}

fn locked_memory() -> Finding {
    let held = stronghold_vault::locking();
    let fine = held.refusal.is_none();
    let says = held.refusal.unwrap_or_else(|| {
        format!("keys are kept out of swap and core dumps: {} KiB are locked for them", held.locked / 1024)
    });
    Finding { what: "locked memory", fine, says }
}

fn memory_of_generations(context: &Context) -> Finding {
    let folder = context.seen().map(|seen| seen.folder().to_owned());
    let (fine, says) = match folder {
        Some(folder) if fs::create_dir_all(&folder).is_ok() => {
            (true, format!("old copies put in place of a snapshot are noticed, by {}", shown(&folder)))
        }
        Some(folder) => (false, format!("{} can't be written", shown(&folder))),
        None => (false, "this system names no folder for it".into()),
    };
    Finding { what: "rollback", fine, says }
}

#[cfg(unix)]
fn permissions(path: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    let (fine, says) = match mode {
        Ok(mode) if mode & 0o077 == 0 => (true, "only its owner may read it".into()),
        Ok(mode) => (false, format!("others may read it (mode {mode:o}): chmod 600 {}", shown(path))),
        Err(error) => (false, error.to_string()),
    };
    Finding { what: "permissions", fine, says }
}

#[cfg(not(unix))]
fn permissions(_path: &Path) -> Finding {
    Finding { what: "permissions", fine: true, says: "as the folder gives them".into() }
}

/// Left-overs of writers that died are nobody's, but say that something went wrong.
fn beside(path: &Path) -> Vec<Finding> {
    let found = match Surroundings::of(path) {
        Ok(found) => found,
        Err(error) => return vec![Finding { what: "folder", fine: false, says: error.to_string() }],
    };
    let left = if found.writer.is_none() { found.temporary.len() } else { 0 };
    let left_over = match left {
        0 => "none".into(),
        left => format!("{left} temporary files of writers that died; the next writer removes them"),
    };
    let writer =
        found.writer.map_or_else(|| "nobody is writing".into(), |id| format!("process {id} is writing"));
    vec![
        Finding { what: "writer", fine: true, says: writer },
        Finding { what: "left over", fine: left == 0, says: left_over },
    ]
}
