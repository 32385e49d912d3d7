//! Checks the sources: every file has a header, and restricted words appear only where they are
//! allowed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{CRATES, Findings};
use crate::{Result, cargo::root};

/// The only file that may contain code that the compiler can't check.
const LOCKED: &str = "stronghold-vault/src/locked.rs";

/// Written in two parts, so that the check does not find this file.
const UNCHECKED: &str = concat!("un", "safe");

pub(super) fn check() -> Result<Findings> {
    let mut findings = Findings::new();
    for folder in CRATES {
        for path in rust_files(&root().join(folder))? {
            let text = fs::read_to_string(&path)?;
            let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            if !(text.starts_with("//! ") || text.starts_with("#![doc = include_str!(")) {
                findings.push(format!("{name}: begin it with `//!`: what it holds and why it exists"));
            }
            if name != LOCKED && has_word(&text, UNCHECKED) {
                findings.push(format!("{name}: `{UNCHECKED}` belongs in {LOCKED} alone"));
            }
        }
    }
    Ok(findings)
}

/// Checks that the crate in this folder declares `no_std`, and uses neither `std` nor async.
pub(super) fn check_pure(folder: &Path) -> Result<Findings> {
    let mut findings = Findings::new();
    if !fs::read_to_string(folder.join("lib.rs"))?.contains("#![no_std]") {
        findings.push("stronghold-sync: lib.rs lacks #![no_std]".into());
    }
    for path in rust_files(folder)? {
        let text = fs::read_to_string(&path)?;
        let words = ["std", "async", "await"].into_iter().filter(|word| has_word(&text, word));
        findings.extend(words.map(|word| format!("{}: uses {word}", path.display())));
    }
    Ok(findings)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            // The fuzz targets are a workspace of their own, with a build folder of its own.
            if path.file_name().is_none_or(|name| name != "target") {
                found.extend(rust_files(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns whether a word appears in the code, outside comments and not as part of another word.
fn has_word(text: &str, word: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let is_inside = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.flat_map(|line| line.split(|letter| !is_inside(letter))).any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_in_code_only() {
        assert!(has_word("use std::fs;", "std"));
        assert!(!has_word("#![no_std] // not std\n/// nor std", "std"));
        assert!(!has_word("let stdin = 1;", "std"));
    }
}
