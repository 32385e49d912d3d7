//! Sizes, comments and circles of the sources, as `metrics` counts them.

use super::{CRATES, Findings};
use crate::{
    Result,
    metrics::{Circles, MAX_COLUMNS, MAX_FILE, MAX_FUNCTION, Source, Words, functions, sources},
};

/// Maximum percentage of doc comments that begin with a question word.
const MAX_QUESTIONS: f64 = 3.0;

/// The circles that stay, each with its reason: the files that may name each other.
const CIRCLES: [(&str, &str); 7] = [
    ("stronghold-sync/src/session", "a session's roles and the types that they share: parent and children"),
    (
        "stronghold-sync/src/reconcile",
        "the parts of a reconciliation and the set that they share: parent and children",
    ),
    ("stronghold-vault/src/audit", "the log and its checkpoint: parent and child"),
    ("stronghold-snapshot/src/file", "`SnapshotFile` and `SnapshotGuard`: the guarded and its guard"),
    ("stronghold-net/src/pairing", "a pairing and its steps: parent and children"),
    (
        "stronghold-cli/src/commands/import",
        "an import and the records that it compares with: parent and child",
    ),
    ("xtask/src/metrics", "the sources and their circles: parent and child"),
];

pub(super) fn check() -> Result<Findings> {
    let mut findings = Findings::new();
    for crate_ in CRATES {
        let sources = sources(crate_)?;
        sources.iter().for_each(|source| check_source(source, &mut findings));
        let words = Words::of(sources.iter().map(Source::code));
        if words.percent_of_questions() >= MAX_QUESTIONS {
            let percent = words.percent_of_questions();
            findings.push(format!(
                "{crate_}: {percent:.1} % of doc comments begin with What, Whether, How, Why or Who: begin with a verb or the noun"
            ));
        }
        for circle in Circles::of(&sources).lists() {
            let is_known = |(room, _): &(&str, &str)| {
                let within =
                    |file: &String| file == &format!("{room}.rs") || file.starts_with(&format!("{room}/"));
                circle.iter().all(within)
            };
            if !CIRCLES.iter().any(is_known) {
                findings.push(format!("a circle: {}: move what they share below them", circle.join(", ")));
            }
        }
    }
    Ok(findings)
}

fn check_source(source: &Source, findings: &mut Findings) {
    let name = &source.name;
    if source.lines() > MAX_FILE {
        findings.push(format!(
            "{name}: {} lines, more than {MAX_FILE}: two subjects are two files",
            source.lines()
        ));
    }
    for function in functions(source).iter().filter(|function| function.lines > MAX_FUNCTION) {
        let (line, lines) = (function.line, function.lines);
        findings
            .push(format!("{name}:{line}: `{}` has {lines} lines, more than {MAX_FUNCTION}", function.name));
    }
    let is_long = |line: &&str| line.trim_start().starts_with("//") && line.chars().count() > MAX_COLUMNS;
    let long = source.text.lines().filter(is_long).count();
    if long > 0 {
        findings
            .push(format!("{name}: {long} comment lines are longer than {MAX_COLUMNS} columns: wrap them"));
    }
}
