//! `totp`: prints the one-time password of the moment.

use clap::Args;
use serde_json::json;
use stronghold_snapshot::{Access, now};
use stronghold_sync::{Location, escape_untrusted};
use stronghold_vault::Stronghold;

use super::get;
use crate::context::{Context, location};
use crate::error::Failure;
use crate::one_time;

#[derive(Debug, Args)]
pub(crate) struct TotpArgs {
    /// Record with an otpauth:// address or a base32 secret; or a login whose field `totp` or `otp`
    /// holds it.
    location: String,
}

/// Fields of a login that hold such settings, in the order of search.
const FIELDS: [&str; 2] = ["totp", "otp"];

pub(super) fn totp(context: &Context, args: &TotpArgs) -> Result<(), Failure> {
    let named = location(args.location.trim_end_matches('/'))?;
    let home = context.open_at(std::slice::from_ref(&named), Access::Read)?;
    let at = field(home.stronghold(), &named).unwrap_or(named).to_string();
    let value = get::value(context, &home, &at)?;
    let refused = |error: &dyn std::fmt::Display| {
        let message = format!("{} gives no one-time password: {error}", escape_untrusted(&at));
        Failure::usage(message, "store the otpauth:// address or the secret that the site shows")
    };
    let text = std::str::from_utf8(&value).map_err(|_| refused(&one_time::OneTimeError::Unknown))?;
    let passwords = one_time::parse(text).map_err(|error| refused(&error))?;
    let time = now().as_millis() / 1000;
    let code = passwords.generate(time).to_string();
    let seconds_left = passwords.next_step(time) - time;
    let object = json!({ "location": at, "code": code, "seconds_left": seconds_left });
    context.output.result(&object, || vec![code])?;
    if context.output.shows_progress() {
        context.output.note(&format!("valid for {seconds_left} s"));
    }
    Ok(())
}

/// Returns the field with the settings if `named` is a login and no record itself.
fn field(stronghold: &Stronghold, named: &Location) -> Option<Location> {
    if stronghold.contains(named) {
        return None;
    }
    let mut fields = FIELDS.iter().filter_map(|field| format!("{named}/{field}").parse().ok());
    fields.find(|field| stronghold.contains(field))
}
