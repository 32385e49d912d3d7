//! `passphrase`: adds, replaces and removes key slots.

use serde_json::{Value, json};
use stronghold_snapshot::{NewSlot, PassphraseCost, SealError, Sealer, SlotInfo, SlotKind, VaultFile};
use stronghold_sync::escape_untrusted;
use stronghold_vault::Stronghold;

use crate::clock::{length, time};
use crate::context::Context;
use crate::{
    error::Failure,
    secrets::{Given, Secret, Source},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// Add a passphrase or key, and keep the one in use.
    #[arg(long)]
    pub(crate) add: bool,
    /// Remove the passphrase or key with number SLOT.
    #[arg(long, value_name = "SLOT", conflicts_with_all = ["add", "label", "new_passphrase_file", "new_key_file", "calibrate"])]
    pub(crate) remove: Option<u16>,
    /// List passphrases and keys with their numbers, and change nothing.
    #[arg(long, conflicts_with_all = ["add", "remove", "label", "new_passphrase_file", "new_key_file", "calibrate"])]
    pub(crate) list: bool,
    /// Label the new one; anyone who has the file can read the label.
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Read the new passphrase from the first line of FILE; default: ask for one.
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Use the 32-byte key in FILE instead of a new passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// Make one try of the new passphrase take about TIME on this machine, such as 1s; default: 64
    /// MiB, 3 passes.
    #[arg(long, value_name = "TIME", conflicts_with = "new_key_file", value_parser = length)]
    pub(crate) calibrate: Option<Duration>,
    #[command(flatten)]
    pub(crate) renewal: Renewal,
}

/// Options for the snapshot's new master key, which keeps an old copy and its passphrase from
/// opening later versions.
#[derive(Debug, Default, Args)]
pub(crate) struct Renewal {
    /// Read another passphrase of the snapshot, so that its slot can be resealed; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) also_passphrase_file: Vec<PathBuf>,
    /// Read another key of the snapshot, so that its slot can be resealed; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) also_key_file: Vec<PathBuf>,
    /// Keep the master key: an old copy and its passphrase or key then open later versions too.
    #[arg(long, conflicts_with_all = ["also_passphrase_file", "also_key_file"])]
    pub(crate) keep_master_key: bool,
}

pub(super) fn passphrase(context: &Context, args: &PassphraseArgs) -> Result<(), Failure> {
    let mut home = context.open()?;
    if let Some(number) = args.remove {
        let others = args.renewal.secrets()?;
        home.update_slots(|lineage| {
            lineage.remove_slot(number)?;
            args.renewal.renew(lineage, &others)
        })?;
    } else if !args.list {
        add_slot(context, &mut home, args)?;
    }
    print_slots(context, &home)
}

impl Renewal {
    /// Reads the secrets of the further slots to reseal.
    pub(crate) fn secrets(&self) -> Result<Vec<Secret>, Failure> {
        let passphrases = self.also_passphrase_file.iter().map(|path| (Some(path.as_path()), None));
        let keys = self.also_key_file.iter().map(|path| (None, Some(path.as_path())));
        let secret = |(passphrase, key)| {
            Source::of_files(passphrase, key).given("Passphrase: ").map(Given::into_secret)
        };
        passphrases.chain(keys).map(secret).collect()
    }

    /// Applies `change` and renews the master key, unless `--keep-master-key` is set.
    pub(crate) fn update<T>(
        &self,
        home: &mut VaultFile,
        change: impl FnOnce(&mut Stronghold) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.keep_master_key {
            return home.update_as(change);
        }
        let others = self.secrets()?;
        let others: Vec<_> = others.iter().map(Secret::unlock).collect();
        home.update_and_renew(&others, change)
    }

    /// Renews the master key, unless `--keep-master-key` is set.
    fn renew(&self, lineage: &mut Sealer, others: &[Secret]) -> Result<(), SealError> {
        let others: Vec<_> = others.iter().map(Secret::unlock).collect();
        if self.keep_master_key { Ok(()) } else { lineage.renew_master(&others) }
    }
}

fn add_slot(context: &Context, home: &mut VaultFile, args: &PassphraseArgs) -> Result<(), Failure> {
    let files = (args.new_passphrase_file.as_deref(), args.new_key_file.as_deref());
    let new = Source::of_files(files.0, files.1).new_secret(context.output, home.file().path())?;
    let others = args.renewal.secrets()?;
    let _waiting = context.waiting("sealing the key");
    let cost = match args.calibrate {
        Some(time) => PassphraseCost::calibrated(time).map_err(stronghold_snapshot::VaultFileError::from)?,
        None => PassphraseCost::default(),
    };
    let slot = match &new {
        Secret::Passphrase(passphrase) => NewSlot::Passphrase { passphrase, cost },
        Secret::Key(_) => new.new_slot(),
    };
    let label = args.label.as_deref();
    if args.add {
        let added = home.update_slots(|lineage| lineage.add_slot(&slot, label.unwrap_or_default()).map(drop));
        return Ok(added?);
    }
    let replaced = home.file().sealer().opened_slot().ok_or_else(|| {
        Failure::usage(
            "the slot that was opened is gone; nothing was changed",
            "see `stronghold passphrase --list`",
        )
    })?;
    Ok(home.update_slots(|lineage| {
        lineage.replace_slot(replaced, &slot, label)?;
        args.renewal.renew(lineage, &others)
    })?)
}

pub(super) fn print_slots(context: &Context, home: &VaultFile) -> Result<(), Failure> {
    let slots: Vec<SlotInfo> = home.file().sealer().slots().collect();
    let objects: Vec<Value> = slots.iter().map(slot_object).collect();
    context.output.result(&json!({ "slots": objects }), || slots.iter().map(slot_line).collect())
}

pub(super) fn slot_object(slot: &SlotInfo) -> Value {
    let SlotInfo { number, kind, label, created } = slot;
    let mut object = json!({ "slot": number, "kind": kind_of(*kind), "label": label, "created": created });
    if let SlotKind::Passphrase(cost) = kind {
        object["memory_kib"] = cost.memory_kib().into();
        object["passes"] = cost.passes().into();
        object["lanes"] = cost.lanes().into();
    }
    object
}

pub(super) fn slot_line(slot: &SlotInfo) -> String {
    let SlotInfo { number, kind, label, created } = slot;
    let cost = match kind {
        SlotKind::Passphrase(cost) => {
            let (mib, passes, lanes) = (cost.memory_kib().div_ceil(1024), cost.passes(), cost.lanes());
            format!(" (Argon2id, {mib} MiB, {passes} passes, {lanes} lanes)")
        }
        _ => String::new(),
    };
    let label = if label.is_empty() { String::new() } else { format!("  {}", escape_untrusted(label)) };
    format!("{number}  {}{cost}  {}{label}", kind_of(*kind), time(*created))
}

pub(super) fn kind_of(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Passphrase(_) => "passphrase",
        SlotKind::Key => "key",
        SlotKind::Recipient => "recipient",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stronghold_sync::Timestamp;

    #[test]
    fn a_slot_is_told_with_what_it_costs() {
        let cost = PassphraseCost::new(65_537, 3, 4).unwrap();
        let slot = |kind, label: &str| SlotInfo {
            number: 2,
            kind,
            label: label.into(),
            created: Timestamp::default(),
        };
        let passphrase = slot(SlotKind::Passphrase(cost), "");
        assert_eq!(
            slot_object(&passphrase),
            json!({
                "slot": 2, "kind": "passphrase", "label": "", "created": 0,
                "memory_kib": 65_537, "passes": 3, "lanes": 4,
            })
        );
        let when = time(Timestamp::default());
        let line = format!("2  passphrase (Argon2id, 65 MiB, 3 passes, 4 lanes)  {when}");
        assert_eq!(slot_line(&passphrase), line);
        for (kind, word) in [(SlotKind::Key, "key"), (SlotKind::Recipient, "recipient")] {
            let slot = slot(kind, "in the safe");
            let object = json!({ "slot": 2, "kind": word, "label": "in the safe", "created": 0 });
            assert_eq!(slot_object(&slot), object);
            assert_eq!(slot_line(&slot), format!("2  {word}  {when}  in the safe"));
        }
    }
}
