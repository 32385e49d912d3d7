//! The storage rows of DESIGN.md, section 12, measured in one run: Stronghold beside IOTA Stronghold (a vault), age (a
//! file encryption) and AES-256-GCM itself. Prints one JSON object, a row for each piece of work; `cargo xtask bench
//! storage` adds the rows of the command and shows the table.
//!
//! `open-stronghold FILE` and `open-iota FILE` are what this program runs as a child, so that the peak of memory is that
//! of opening alone.

mod ciphers;
mod iota;
mod measure;
mod ours;

use std::{env, path::Path};

use measure::{Fallible, Row};
use serde_json::json;

/// Records of the small and of the large vault, and what one holds.
const RECORDS: usize = 10_000;
const MANY: usize = 100_000;
const VALUE: [u8; 64] = [7; 64];

fn main() -> Fallible<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["open-stronghold", file] => measure::child(|| ours::open(Path::new(file))),
        ["open-iota", file] => measure::child(|| iota::open(Path::new(file))),
        [] => all(&[ciphers::measure, ours::measure, iota::measure]),
        ["--without-iota"] => all(&[ciphers::measure, ours::measure]),
        ["--ciphers"] => all(&[ciphers::measure]),
        _ => Err("usage: stronghold-snapshot-peers [--without-iota | --ciphers]".into()),
    }
}

fn all(parts: &[fn(&mut Vec<Row>) -> Fallible<()>]) -> Fallible<()> {
    let mut rows = Vec::new();
    parts.iter().try_for_each(|part| part(&mut rows))?;
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    println!("{}", json!({ "rows": rows }));
    Ok(())
}

/// The name of the n-th record.
fn name(n: usize) -> String {
    format!("account-{n:06}")
}
