//! Reads the table that an import takes, with the keys and programs that its format needs.

use std::fs::File;

use zeroize::Zeroizing;

use super::table::Table;
use super::{Format, ImportArgs};
use super::{bitwarden, csv, iota, kdbx, lines, onepux, pass};
use crate::context::Context;
use crate::error::{Failure, Kind, shown};
use crate::input::{self, MAX_TABLE};
use crate::{secrets, terminal};

/// Maximum size of a database, in bytes. Reading one takes several times as much memory.
const MAX_DATABASE: usize = 128 << 20;
const ONE_PUX_HINT: &str = "export it from 1Password 8 as 1PUX; delete the file after the import";
const LINES_HINT: &str = "is it the right file? Save it as UTF-8";

/// Reads the table of a file or folder.
///
/// # Errors
/// [`Failure`] when there is none in it, or it can't be decrypted.
pub(super) fn read(context: &Context, args: &ImportArgs, format: Format) -> Result<Table, Failure> {
    let columns = columns(args, format)?;
    if format == Format::Pass {
        return store(context, args);
    }
    let has_passphrase = [Format::Kdbx, Format::Bitwarden].contains(&format);
    let _waiting = (!has_passphrase).then(|| context.waiting(format!("reading {}", shown(&args.file))));
    let limit =
        if [Format::Kdbx, Format::OnePux, Format::Iota].contains(&format) { MAX_DATABASE } else { MAX_TABLE };
    let bytes = input::within(&args.file, limit, "the right file")?;
    let client = &args.into;
    match format {
        Format::Kdbx => database(context, args, &bytes),
        Format::Csv => csv::read(&bytes, client, &columns).map_err(|error| unreadable(&error, error.hint())),
        Format::OnePux => onepux::read(&bytes, client).map_err(|error| unreadable(&error, ONE_PUX_HINT)),
        Format::Bitwarden => export_of_bitwarden(context, args, &bytes),
        Format::Otpauth => lines::one_time(&bytes, client).map_err(|error| unreadable(&error, LINES_HINT)),
        Format::Env => lines::environment(&bytes, client).map_err(|error| unreadable(&error, LINES_HINT)),
        Format::Iota => iota::read(&bytes, client).map_err(|error| unreadable(&error, error.hint())),
        Format::Pass => store(context, args),
    }
}

/// Returns the fields and columns that `--columns` names.
fn columns(args: &ImportArgs, format: Format) -> Result<Vec<(String, String)>, Failure> {
    let columns = args.columns.iter().map(|pair| {
        let pair = pair.split_once('=').filter(|(field, _)| !field.is_empty());
        pair.map(|(field, column)| (field.to_owned(), column.to_owned())).ok_or_else(|| {
            Failure::usage(
                "--columns takes FIELD=COLUMN",
                "for example: --columns title=Name,password=Secret",
            )
        })
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    if !columns.is_empty() && format != Format::Csv {
        return Err(Failure::usage("only a table has columns", "say --format csv, or leave --columns out"));
    }
    Ok(columns)
}

/// Reads a KeePass database with its passphrase, which a prompt asks for up to three times, and its
/// key file.
fn database(context: &Context, args: &ImportArgs, bytes: &[u8]) -> Result<Table, Failure> {
    let key_file = args.source_key_file.as_deref().map(|path| input::within(path, MAX_TABLE, "a key file"));
    let key_file = key_file.transpose()?;
    with_passphrase(
        args,
        |passphrase| {
            let text = std::str::from_utf8(passphrase).ok().filter(|text| !text.is_empty());
            let key = (text, key_file.as_deref().map(Vec::as_slice));
            let _waiting = context.waiting(format!("opening {}", shown(&args.file)));
            kdbx::read(bytes, &args.into, key, context.global.allow_costly)
        },
        |error| *error == kdbx::ReadKdbxError::WrongKey,
        |error| error.hint(),
    )
}

/// Reads an export of Bitwarden, with its passphrase if it has one.
fn export_of_bitwarden(context: &Context, args: &ImportArgs, bytes: &[u8]) -> Result<Table, Failure> {
    let Some(sealed) = bitwarden::Sealed::of(bytes) else {
        return bitwarden::read(bytes, &args.into).map_err(|error| unreadable(&error, error.hint()));
    };
    with_passphrase(
        args,
        |passphrase| {
            let _waiting = context.waiting(format!("opening {}", shown(&args.file)));
            let opened = sealed.open(passphrase, context.global.allow_costly)?;
            bitwarden::read(&opened, &args.into)
        },
        |error| error.is_wrong_key(),
        |error| error.hint(),
    )
}

/// Reads a file with its passphrase, which a prompt asks for up to three times.
fn with_passphrase<E: std::error::Error>(
    args: &ImportArgs,
    mut read: impl FnMut(&Zeroizing<Vec<u8>>) -> Result<Table, E>,
    is_wrong_key: impl Fn(&E) -> bool,
    hint: impl Fn(&E) -> &'static str,
) -> Result<Table, Failure> {
    let mut tries = if args.source_passphrase_file.is_some() { 1 } else { 3 };
    loop {
        tries -= 1;
        let passphrase = secrets::of_database(&args.file, args.source_passphrase_file.as_deref())?;
        match read(&passphrase) {
            Err(error) if is_wrong_key(&error) && tries > 0 => {
                terminal::tell("wrong passphrase; try again")?;
            }
            Err(error) if is_wrong_key(&error) => {
                let message = format!("{error}; nothing was changed");
                return Err(Failure::new(Kind::WrongKey, message).hint(hint(&error)));
            }
            read => return read.map_err(|error| unreadable(&error, hint(&error))),
        }
    }
}

/// Reads a password store. While its programs may ask for a passphrase, no progress is drawn.
fn store(context: &Context, args: &ImportArgs) -> Result<Table, Failure> {
    let identity = args.source_identity.as_deref();
    if let Some(path) = identity {
        File::open(path).map_err(|error| Failure::file(path, &error))?;
    }
    let mut waiting = None;
    let on_decrypted = || waiting = Some(context.waiting(format!("decrypting {}", shown(&args.file))));
    let read = pass::read(&args.file, &args.into, identity, on_decrypted);
    drop(waiting);
    read.map_err(|error| unreadable(&error, error.hint()))
}

fn unreadable(error: &dyn std::error::Error, hint: &str) -> Failure {
    Failure::usage(format!("{error}; nothing was changed"), hint)
}
