//! Prints what a snapshot of IOTA Stronghold holds. See `iota-export --help`.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use iota_export::{KeyError, Names, PathsError, ReadError, Source, read, write};

const HELP: &str = "\
Prints what a snapshot of IOTA Stronghold (version 2 or 3) holds, for `stronghold import --format iota -`.

Usage: iota-export SNAPSHOT --key-file FILE [--paths FILE]
       iota-export SNAPSHOT --passphrase-file FILE [--salt-file FILE] [--paths FILE]

  --key-file FILE         the snapshot's key: 32 bytes, or 64 hexadecimal digits
  --passphrase-file FILE  its passphrase, the first line of FILE
  --salt-file FILE        the salt of Tauri's plug-in; without it, the passphrase is hashed by BLAKE2b
  --paths FILE            the application's paths, one a line: of clients, vaults and records, in any
                          order; hex:DIGITS for one that is not text. A name that none of them has
                          stays an id

What is printed are the secrets themselves: pass them on through a pipe, not through a file.
  iota-export wallet.stronghold --key-file key --paths paths | stronghold import --format iota -
";

/// Reason why nothing was printed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(&'static str),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Paths(#[from] PathsError),
    #[error("{0}: {1}; it was not touched")]
    Read(String, #[source] ReadError),
    #[error("the output failed: {0}")]
    Output(#[from] io::Error),
}

#[derive(Default)]
struct Args {
    snapshot: Option<String>,
    key: Option<String>,
    passphrase: Option<String>,
    salt: Option<String>,
    paths: Option<String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return print(HELP);
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let hint = match failure {
                Failure::Usage(_) => "see `iota-export --help`",
                Failure::Read(_, ReadError::WrongKey) => {
                    "is it the key that the application gives to its KeyProvider? See `iota-export --help`"
                }
                _ => "nothing was printed",
            };
            let _ = writeln!(io::stderr(), "error: {failure}\nhint: {hint}");
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(words: Vec<String>) -> Result<(), Failure> {
    let args = parse(words)?;
    let snapshot = args.snapshot.as_deref().ok_or(Failure::Usage("no snapshot is named"))?;
    let source = match (&args.key, &args.passphrase, &args.salt) {
        (Some(key), None, None) => Source::Key(Path::new(key)),
        (None, Some(passphrase), None) => Source::Passphrase(Path::new(passphrase)),
        (None, Some(passphrase), Some(salt)) => {
            Source::Tauri { passphrase: Path::new(passphrase), salt: Path::new(salt) }
        }
        _ => return Err(Failure::Usage("say --key-file, or --passphrase-file with or without --salt-file")),
    };
    if io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "the output are secrets, and it is a terminal: pipe it into `stronghold import`",
        ));
    }
    let names =
        args.paths.as_deref().map_or(Ok(Names::default()), |paths| Names::of_file(Path::new(paths)))?;
    let key = source.key()?;
    let contents =
        read(Path::new(snapshot), &key, &names).map_err(|error| Failure::Read(snapshot.to_owned(), error))?;
    write(&contents, &mut io::stdout().lock())?;
    let mut told = format!("{} entries", contents.entries.len());
    if contents.revoked + contents.expired > 0 {
        told = format!("{told}; left out: {} revoked, {} expired", contents.revoked, contents.expired);
    }
    if contents.unnamed > 0 {
        told =
            format!("{told}; {} without a known path: ids stand in place of their names", contents.unnamed);
    }
    let _ = writeln!(io::stderr(), "{told}");
    Ok(())
}

fn parse(words: Vec<String>) -> Result<Args, Failure> {
    let mut args = Args::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let slot = match word.as_str() {
            "--key-file" => &mut args.key,
            "--passphrase-file" => &mut args.passphrase,
            "--salt-file" => &mut args.salt,
            "--paths" => &mut args.paths,
            option if option.starts_with("--") => return Err(Failure::Usage("there is no such option")),
            _ => {
                if args.snapshot.replace(word).is_some() {
                    return Err(Failure::Usage("one snapshot at a time"));
                }
                continue;
            }
        };
        *slot = Some(words.next().ok_or(Failure::Usage("an option lacks its file"))?);
    }
    Ok(args)
}
