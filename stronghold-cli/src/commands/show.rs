//! `show`: prints a login, made of one record for each field, as one thing.

use clap::Args;
use serde_json::{Value, json};
use stronghold_sync::{Location, Timestamp, escape_untrusted};
use stronghold_vault::Stronghold;

use crate::clock::time;
use crate::columns;
use crate::context::Context;
use crate::error::{About, Failure};
use crate::names;
use crate::output::visible_lines;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Login, as CLIENT/VAULT/TITLE.
    title: String,
    /// Print passwords and other hidden fields too.
    #[arg(short, long)]
    reveal: bool,
}

/// Fields that are printed first, in this order.
const FIRST: [&str; 5] = ["username", "password", "url", "totp", "notes"];
/// Fields that are no secrets. Others are hidden until `--reveal`.
const SHOWN: [&str; 7] = ["username", "user", "login", "email", "url", "website", "notes"];
/// Text in place of a hidden value.
const HIDDEN: &str = "********";

/// A field of a login.
struct Field {
    name: String,
    location: Location,
    modified: Timestamp,
    conflict: bool,
    /// The value, unless it is hidden.
    value: Option<String>,
}

pub(super) fn show(context: &Context, args: &ShowArgs) -> Result<(), Failure> {
    let home = context.open()?;
    let stronghold = home.stronghold();
    let fields = fields(stronghold, &args.title, args.reveal)?;
    let objects: Vec<Value> = fields.iter().map(Field::object).collect();
    let object = json!({ "title": args.title.trim_end_matches('/'), "fields": objects });
    context.output.result(&object, || lines(&fields))?;
    for field in fields.iter().filter(|field| field.conflict) {
        let at = escape_untrusted(&field.location.to_string());
        context.output.warning(&format!(
            "warning: {at} is in conflict; this is its latest value; see `stronghold resolve '{at}'`"
        ));
    }
    Ok(())
}

/// Returns whether a field is hidden: its name is none of [`SHOWN`].
pub(super) fn is_secret(field: &str) -> bool {
    !SHOWN.contains(&field.to_lowercase().as_str())
}

/// Returns the fields of a login: the record with its name, and all below it.
fn fields(stronghold: &Stronghold, title: &str, reveal: bool) -> Result<Vec<Field>, Failure> {
    let bare = title.trim_end_matches('/');
    let mut named = names::below(stronghold, bare)?;
    if named.is_empty() || stronghold.contains(&crate::context::location(bare)?) {
        named.extend(names::named(stronghold, bare)?);
    }
    let mut fields = Vec::new();
    for location in named {
        let read = stronghold.read(&location).about(&location)?;
        let text = location.to_string();
        let name = text[bare.len()..].trim_start_matches('/');
        let name = if name.is_empty() { "value" } else { name }.to_owned();
        let is_shown = reveal || !is_secret(&name);
        let value = is_shown.then(|| match std::str::from_utf8(&read.revision.value) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("({} bytes that are not text)", read.revision.value.len()),
        });
        fields.push(Field { name, location, modified: read.modified, conflict: read.conflict, value });
    }
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    fields.sort_by(|one, other| (rank(&one.name), &one.name).cmp(&(rank(&other.name), &other.name)));
    Ok(fields)
}

impl Field {
    fn object(&self) -> Value {
        json!({
            "field": self.name, "location": self.location.to_string(), "modified": self.modified,
            "conflict": self.conflict, "value": self.value,
        })
    }
}

/// Returns the fields in two columns, and the time of the last change. Further lines of a value are
/// below its first.
fn lines(fields: &[Field]) -> Vec<String> {
    let widths = fields.iter().map(|field| columns::width(&escape_untrusted(&field.name)));
    let width = widths.max().unwrap_or(0).max("changed".len());
    let line = |name: &str, value: &str| {
        let margin = format!("\n{:width$}  ", "");
        let name = columns::padded(&escape_untrusted(name), width);
        format!("{name}  {}", visible_lines(value).replace('\n', &margin))
    };
    let field = |field: &Field| {
        let mark = if field.conflict { "  (conflict)" } else { "" };
        line(&field.name, &format!("{}{mark}", field.value.as_deref().unwrap_or(HIDDEN).trim_end()))
    };
    let changed = fields.iter().map(|field| field.modified).max().map(|last| line("changed", &time(last)));
    fields.iter().map(field).chain(changed).collect()
}
