//! Imports another program's table. New entries come in, records that were edited or removed here
//! stay, and everything left out is reported.

mod bitwarden;
mod csv;
mod held;
mod iota;
mod kdbx;
mod lines;
mod matching;
mod onepux;
mod pass;
mod source;
mod table;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use stronghold_snapshot::now;
use stronghold_sync::{Location, check_name, escape_untrusted, needs_confirmation};
use stronghold_vault::{Labels, Stronghold};

pub(super) use self::kdbx::FIELDS;
use self::{
    held::{Held, State},
    table::{Credential, LeftOut, LeftOutReason, Secret, Table, short},
};
use super::changes::{self, Changes};
use crate::{
    context::Context,
    error::{Failure, Kind, shown},
    lookalike::{self, Spellings},
    output::Output,
};

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File or folder to import; `-` is stdin.
    pub(crate) file: PathBuf,
    /// Format of the file; default: by the end of its name, or what is in the folder.
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Take these columns of a table: `title`, `group` or a field's name, and the column's.
    #[arg(long, value_name = "FIELD=COLUMN", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Read the passphrase of the database or export from the first line of FILE; default: ask
    /// for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) source_passphrase_file: Option<PathBuf>,
    /// Open the database with this key file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) source_key_file: Option<PathBuf>,
    /// Decrypt the entries of a store of age with the identity in FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) source_identity: Option<PathBuf>,
    /// Place the entries in CLIENT.
    #[arg(long, value_name = "CLIENT", default_value = "imported")]
    pub(crate) into: String,
    /// Show what would be done, and change nothing.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Replace values that were edited here since the last import.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Bring back records that were removed here.
    #[arg(long)]
    pub(crate) revive: bool,
    /// Take entries even if their names look like others.
    #[arg(long)]
    pub(crate) allow_lookalike: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Table of KeePassXC, a browser or another program; see --columns.
    Csv,
    /// KeePass database, KDBX 3.1 or 4.
    Kdbx,
    /// 1PUX export of 1Password.
    #[value(name = "1pux")]
    OnePux,
    /// JSON export of Bitwarden, unencrypted or password protected.
    Bitwarden,
    /// Folder of `pass`, gopass or passage.
    Pass,
    /// otpauth:// addresses, one a line.
    Otpauth,
    /// NAME=VALUE lines.
    Env,
    /// Output of `iota-export`, of an IOTA Stronghold snapshot.
    Iota,
}

impl Format {
    /// Returns the name of the format, as in `--format`.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Returns the format that the end of a file's name tells, or a folder's content.
    fn of_path(path: &Path) -> Option<Self> {
        if path.is_dir() {
            return pass::is_store(path).then_some(Self::Pass);
        }
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let end = name.rsplit('.').next()?;
        match end {
            "csv" => Some(Self::Csv),
            "kdbx" => Some(Self::Kdbx),
            "1pux" => Some(Self::OnePux),
            "json" => Some(Self::Bitwarden),
            "otpauth" => Some(Self::Otpauth),
            _ if name.starts_with(".env") || end == "env" => Some(Self::Env),
            _ => None,
        }
    }
}

/// Label of each revision that an import writes; its value is the name of the format.
const SOURCE: &str = "source";

pub(super) fn import(context: &Context, args: &ImportArgs) -> Result<(), Failure> {
    check_name(&args.into).map_err(|error| {
        Failure::usage(format!("--into {}: {error}", short(&args.into)), "name a client, such as imported")
    })?;
    let format = args.format.or_else(|| Format::of_path(&args.file)).ok_or_else(|| {
        Failure::usage(
            "the file's name does not tell its format",
            "say it: --format csv, kdbx, 1pux, bitwarden, pass, otpauth, env or iota",
        )
    })?;
    let table = source::read(context, args, format)?;
    let mut home = context.open()?;
    let mut plan = Plan::of(home.stronghold(), &table, args)?;
    let mut changes = Changes::default();
    plan.confirm(context, args)?;
    if !plan.writes.is_empty() {
        let _waiting = context.waiting(format!("importing {}", shown(&args.file)));
        (plan, changes) = changes::apply(&mut home, args.dry_run, |stronghold| {
            let plan = Plan::of(stronghold, &table, args)?;
            plan.write(stronghold, format)?;
            Ok(plan)
        })?;
    }
    let left_out: Vec<&LeftOut> = table.rows.iter().chain(&plan.left_out).collect();
    let object = object(&plan, &changes, &table, &left_out);
    context
        .output
        .result(&object, || lines(&plan, &changes, &table, &left_out, context.output, args.dry_run))?;
    refused(&table, &left_out, args.dry_run)
}

/// Reason why a value of the table does not replace the held one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Edited,
    Older,
    Conflict,
    Removed,
    Emptied,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Older => "older",
            Self::Conflict => "conflict",
            Self::Removed => "removed",
            Self::Emptied => "emptied",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Edited => "it was written here, and says something else (--overwrite takes the table's)",
            Self::Older => "the table says what it said before (--overwrite takes the table's)",
            Self::Conflict => "it is in conflict (--overwrite takes the table's)",
            Self::Removed => "it was removed here (--revive brings it back)",
            Self::Emptied => "it is empty in the table",
        }
    }
}

/// Effect of an import.
#[derive(Default)]
struct Plan<'a> {
    /// Records with their values, former ones first.
    writes: Vec<(Location, Vec<&'a Secret>)>,
    kept: Vec<(Location, Kept)>,
    left_out: Vec<LeftOut>,
    /// Number of new credentials, followed by those of changed and of unchanged ones.
    new: u64,
    changed: u64,
    unchanged: u64,
    /// Number of values that are both held and in the table, followed by how many of them would
    /// shrink to less than half their size.
    compared: u64,
    shrunk: u64,
}

impl<'a> Plan<'a> {
    fn of(stronghold: &Stronghold, table: &'a Table, args: &ImportArgs) -> Result<Self, Failure> {
        let held = Held::of(stronghold, &args.into);
        let places = matching::places(&table.credentials, &held)?;
        let mut spellings = Spellings::of(held.names());
        if let (false, Some(twin)) = (args.allow_lookalike, spellings.twin_of_client(&args.into)) {
            let message = format!(
                "--into {}: it looks like {}, which is there",
                lookalike::quoted(&args.into),
                lookalike::quoted(&twin)
            );
            return Err(Failure::new(Kind::Lookalike, format!("{message}; nothing was changed"))
                .hint("write it as that one, or say --allow-lookalike"));
        }
        let mut plan = Self::default();
        for (credential, place) in table.credentials.iter().zip(&places) {
            plan.add(credential, place, &held, &mut spellings, args)?;
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        credential: &'a Credential,
        place: &str,
        held: &Held<'_>,
        spellings: &mut Spellings,
        args: &ImportArgs,
    ) -> Result<(), Failure> {
        let left_out = |why| LeftOut { line: credential.line, name: short(place), why };
        let locate = |field: &str| table::locate(&args.into, place, field);
        let mut is_known = held.has_place(place);
        let mut writes = Vec::new();
        for (field, value) in &credential.fields {
            // The number that tells equal titles apart may make a name too long.
            let location = match locate(field) {
                Ok(location) => location,
                Err(error) => {
                    self.left_out.push(left_out(LeftOutReason::Place(error)));
                    return Ok(());
                }
            };
            let twin = if is_known || args.allow_lookalike { None } else { spellings.twin_of(&location) };
            if let Some(twin) = twin {
                self.left_out.push(left_out(LeftOutReason::Lookalike(lookalike::quoted(&twin))));
                return Ok(());
            }
            let state = held.state(&location)?;
            is_known |= !matches!(state, State::Absent);
            self.compared += u64::from(matches!(state, State::Says { .. }));
            match verdict(&state, value, args, || held.said_before(&location, value))? {
                Verdict::Same => {}
                Verdict::Write => {
                    self.shrunk += u64::from(state.is_shrunk_by(value));
                    let former = credential.former.iter().filter(|(name, _)| name == field);
                    let former = former.filter(|_| matches!(state, State::Absent)).map(|(_, value)| value);
                    writes.push((location, former.chain([value]).collect()));
                }
                Verdict::Keep(kept) => self.kept.push((location, kept)),
            }
        }
        for location in credential.empty.iter().filter_map(|field| locate(field).ok()) {
            if let State::Says { .. } = held.state(&location)? {
                self.kept.push((location, Kept::Emptied));
            }
        }
        writes.iter().for_each(|(location, _)| spellings.add(location));
        match (writes.is_empty(), is_known) {
            (true, _) => self.unchanged += 1,
            (false, true) => self.changed += 1,
            (false, false) => self.new += 1,
        }
        self.writes.append(&mut writes);
        Ok(())
    }

    /// Asks for confirmation if the table shortens many values, for example because another program
    /// masked them.
    fn confirm(&self, context: &Context, args: &ImportArgs) -> Result<(), Failure> {
        let Self { shrunk, compared, .. } = self;
        if !needs_confirmation(*shrunk, *compared) {
            return Ok(());
        }
        let message = format!("{shrunk} of {compared} values would be less than half as long by this table");
        if args.dry_run {
            context.output.note(&format!("hint: {message}: that is asked about, or takes --yes"));
            return Ok(());
        }
        context.confirm(&format!("{message}.\nGo on?"))
    }

    fn write(&self, stronghold: &mut Stronghold, format: Format) -> Result<(), Failure> {
        let (now, labels) = (now(), Labels::from([(SOURCE.to_owned(), format.name())]));
        for (location, values) in &self.writes {
            let mut values = values.clone();
            values.dedup();
            for value in values {
                stronghold.write(location, value, labels.clone(), now)?;
            }
        }
        Ok(())
    }
}

enum Verdict {
    Same,
    Write,
    Keep(Kept),
}

/// Decides on one field. A table is a copy of unknown age, so a value that was written here since
/// the last import stays.
fn verdict(
    state: &State,
    value: &Secret,
    args: &ImportArgs,
    said_before: impl FnOnce() -> Result<bool, Failure>,
) -> Result<Verdict, Failure> {
    Ok(match state {
        State::Absent => Verdict::Write,
        State::Removed if args.revive => Verdict::Write,
        State::Removed => Verdict::Keep(Kept::Removed),
        State::Says { values, .. } if values.iter().any(|held| held == value) => Verdict::Same,
        State::Says { .. } if args.overwrite => Verdict::Write,
        State::Says { values, .. } if values.len() > 1 => Verdict::Keep(Kept::Conflict),
        State::Says { .. } if said_before()? => Verdict::Keep(Kept::Older),
        State::Says { imported: true, .. } => Verdict::Write,
        State::Says { .. } => Verdict::Keep(Kept::Edited),
    })
}

fn object(plan: &Plan<'_>, changes: &Changes, table: &Table, left_out: &[&LeftOut]) -> Value {
    let rows =
        left_out.iter().map(|row| json!({ "line": row.line, "name": row.name, "why": row.why.to_string() }));
    let renamed =
        table.renamed.iter().map(|(line, from, to)| json!({ "line": line, "from": from, "to": to }));
    let columns = table.columns.iter().map(|(name, values)| json!({ "name": name, "values": values }));
    let kept = plan
        .kept
        .iter()
        .map(|(location, why)| json!({ "location": location.to_string(), "why": why.name() }));
    json!({
        "received": plan.new + plan.changed,
        "new": plan.new,
        "changed": plan.changed,
        "unchanged": plan.unchanged,
        "records": changes.object(),
        "left_out": rows.collect::<Vec<_>>(),
        "renamed": renamed.collect::<Vec<_>>(),
        "columns_left_out": columns.collect::<Vec<_>>(),
        "kept": kept.collect::<Vec<_>>(),
    })
}

fn lines(
    plan: &Plan<'_>,
    changes: &Changes,
    table: &Table,
    left_out: &[&LeftOut],
    output: Output,
    dry_run: bool,
) -> Vec<String> {
    let Plan { new, changed, unchanged, .. } = plan;
    let imported = if dry_run { "would import" } else { "imported" };
    let credentials = if new + changed == 1 { "credential" } else { "credentials" };
    let first = format!(
        "{imported} {} {credentials} ({new} new, {changed} changed), {unchanged} unchanged",
        new + changed
    );
    let unit = if table.has_lines { "line" } else { "entry" };
    let kept = plan
        .kept
        .iter()
        .map(|(location, why)| format!("kept: {}: {}", escape_untrusted(&location.to_string()), why.says()));
    let rows = left_out.iter().map(|row| format!("left out: {unit} {}, {}: {}", row.line, row.name, row.why));
    let columns = table.columns.iter().map(|(name, values)| {
        let name = match (table.has_lines, name.as_str()) {
            (_, "") => "a column without a name".into(),
            (true, _) => format!("column \"{name}\""),
            (false, _) => name.clone(),
        };
        format!("left out: {name}, {values} {}", if *values == 1 { "value" } else { "values" })
    });
    let renamed = table
        .renamed
        .iter()
        .map(|(line, from, to)| format!("renamed: {unit} {line}, {from}: it is {to} here"));
    std::iter::once(first)
        .chain(changes.lines(output))
        .chain(output.first_of(kept))
        .chain(output.first_of(renamed))
        .chain(output.first_of(rows))
        .chain(output.first_of(columns))
        .collect()
}

/// Fails if rows were left out for their names or their content, although the others were imported:
/// the user may be about to delete the table.
fn refused(table: &Table, left_out: &[&LeftOut], dry_run: bool) -> Result<(), Failure> {
    let refused: Vec<_> = left_out.iter().filter(|row| row.why != LeftOutReason::NoFields).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let rows = match (refused.len(), table.has_lines) {
        (1, true) => "1 row was".into(),
        (1, false) => "1 entry was".into(),
        (count, true) => format!("{count} rows were"),
        (count, false) => format!("{count} entries were"),
    };
    let others = if dry_run { "nothing was changed" } else { "the others are here" };
    let is_name = |why: &LeftOutReason| matches!(why, LeftOutReason::Place(_) | LeftOutReason::Lookalike(_));
    if !refused.iter().all(|row| is_name(&row.why)) {
        let message = format!("{rows} left out, each for the reason beside it; {others}");
        return Err(Failure::new(Kind::LeftOut, message)
            .hint("keep the source until they are here; import again: what is here stays as it is"));
    }
    let message = format!("{rows} left out for want of a name that can be taken; {others}");
    Err(Failure::new(Kind::LeftOut, message).hint(
        "give those entries other names and import again: what is here stays as it is (--allow-lookalike takes names that look alike)",
    ))
}
