//! The storage benchmark, measured in one run: Stronghold beside IOTA Stronghold (a vault), SQLite
//! and redb with sealed values, age (file encryption) and AES-256-GCM itself. Prints one JSON
//! object with a row for each task; `cargo xtask bench storage` adds the rows of the command and
//! shows the table.
//!
//! This program runs itself as a child with `open-stronghold FILE` and `open-iota FILE`, so that
//! the peak of memory is that of opening alone.

mod changes;
mod ciphers;
mod iota;
mod measure;
mod ours;

use std::{env, path::Path};

use measure::{Fallible, Row};
use serde_json::json;

/// Number of records of the small and of the large vault, and the length of a value.
const RECORDS: usize = 10_000;
const MANY: usize = 100_000;
const VALUE: [u8; 64] = [7; 64];

fn main() -> Fallible<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["open-stronghold", file] => measure::child(|| ours::open(Path::new(file))),
        ["open-iota", file] => measure::child(|| iota::open(Path::new(file))),
        [] => all(&[ciphers::measure, ours::measure, changes::measure, iota::measure]),
        ["--without-iota"] => all(&[ciphers::measure, ours::measure, changes::measure]),
        ["--ciphers"] => all(&[ciphers::measure]),
        ["--changes"] => all(&[changes::measure]),
        ["--changes", "--million"] => all(&[changes::measure_million]),
        _ => {
            Err("usage: stronghold-snapshot-peers [--without-iota | --ciphers | --changes [--million]]"
                .into())
        }
    }
}

fn all(parts: &[fn(&mut Vec<Row>) -> Fallible<()>]) -> Fallible<()> {
    let mut rows = Vec::new();
    parts.iter().try_for_each(|part| part(&mut rows))?;
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    println!("{}", json!({ "rows": rows }));
    Ok(())
}

/// Returns the name of the n-th record.
fn name(n: usize) -> String {
    format!("account-{n:06}")
}
