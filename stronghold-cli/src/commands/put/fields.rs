//! `put --fields`: writes a login, one record for each field, in one step.

use std::io::IsTerminal;

use serde_json::{Value, json};
use stronghold_snapshot::now;
use stronghold_sync::{Location, escape_untrusted};
use stronghold_vault::{Labels, MAX_VALUE, ReadResult, Stronghold};
use zeroize::Zeroizing;

use super::{PutArgs, no_lookalike, object, tell};
use crate::commands::show::is_secret;
use crate::context::{Context, location};
use crate::error::{About, Failure};
use crate::secrets::{self, Recipe};
use crate::{input, terminal};

/// Field that gets a generated value.
const GENERATED: &str = "password";

/// A field to write.
struct Field {
    location: Location,
    value: Zeroizing<Vec<u8>>,
}

pub(super) fn put(context: &Context, args: &PutArgs, recipe: Option<Recipe>) -> Result<(), Failure> {
    let title = args.location.trim_end_matches('/');
    let at = |name: &String| location(&format!("{title}/{name}"));
    let locations = args.fields.iter().map(at).collect::<Result<Vec<_>, _>>()?;
    if (1..locations.len()).any(|number| locations[..number].contains(&locations[number])) {
        return Err(Failure::usage("--fields names a field twice", "nothing was changed"));
    }
    if recipe.is_some() && !args.fields.iter().any(|name| name == GENERATED) {
        let hint = "name it: --fields username,password";
        return Err(Failure::usage("there is no field `password` to generate", hint));
    }
    let mut home = context.open()?;
    if !args.allow_lookalike {
        locations.iter().try_for_each(|location| no_lookalike(home.stronghold(), location))?;
    }
    let fields = values(args, locations, recipe)?;
    if fields.is_empty() {
        return Err(Failure::usage("every field was left empty", "nothing was changed"));
    }
    let written = home.update_as(|stronghold| {
        fields.iter().map(|field| write(stronghold, field)).collect::<Result<Vec<_>, _>>()
    })?;
    let objects: Vec<Value> = fields
        .iter()
        .zip(&written)
        .map(|(field, (before, revision))| object(&field.location, &field.value, before.as_ref(), revision))
        .collect();
    if !context.output.is_json() {
        fields
            .iter()
            .zip(&written)
            .for_each(|(field, (before, _))| tell(context, &field.location, before.as_ref()));
    }
    context.output.result(&json!({ "records": objects }), Vec::new)
}

type Written = (Option<ReadResult>, stronghold_sync::RevisionId);

fn write(stronghold: &mut Stronghold, field: &Field) -> Result<Written, Failure> {
    let Field { location, value } = field;
    let before = stronghold.read(location).ok();
    Ok((before, stronghold.write(location, value, Labels::new(), now()).about(location)?))
}

/// Reads the values: at a terminal by a prompt for each field, else a line of stdin for each.
fn values(args: &PutArgs, locations: Vec<Location>, recipe: Option<Recipe>) -> Result<Vec<Field>, Failure> {
    let is_generated = |name: &String| recipe.is_some() && name == GENERATED;
    let typed = std::io::stdin().is_terminal();
    let asked = args.fields.iter().filter(|name| !is_generated(name)).count();
    let mut lines = if typed { Vec::new() } else { stdin_lines(asked)? }.into_iter();
    let mut fields = Vec::new();
    for (name, location) in args.fields.iter().zip(locations) {
        let value = match &recipe {
            Some(recipe) if name == GENERATED => Zeroizing::new(recipe.generate()?.as_bytes().to_vec()),
            _ if !typed => lines.next().unwrap_or_default(),
            _ if is_secret(name) => secrets::value(None, &location)?,
            _ => {
                let line = terminal::line(&format!("{}: ", escape_untrusted(name)))?.unwrap_or_default();
                Zeroizing::new(line.trim_end_matches(['\n', '\r']).as_bytes().to_vec())
            }
        };
        // Enter leaves a field out.
        if !value.is_empty() || args.allow_empty {
            fields.push(Field { location, value });
        }
    }
    Ok(fields)
}

/// Reads as many lines from stdin.
fn stdin_lines(count: usize) -> Result<Vec<Zeroizing<Vec<u8>>>, Failure> {
    let all = input::rest_of_stdin(count.saturating_mul(MAX_VALUE))?;
    let text = all.strip_suffix(b"\n").unwrap_or(&all);
    let lines = text.split(|byte| *byte == b'\n');
    let lines: Vec<_> =
        lines.map(|line| Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())).collect();
    match lines.len() == count || (count == 0 && all.is_empty()) {
        true => Ok(lines),
        false => Err(Failure::usage(
            format!("stdin has {} lines for {count} fields", lines.len()),
            "nothing was changed; a value of several lines is written by a `put` of its own",
        )),
    }
}
