//! Reads the JSON of each suite into rows, growth series and goals.

use serde_json::Value;

use super::{
    measured::{Goal, OURS, Row, Suite, number},
    median, range,
};

/// Axis of tasks whose name holds their size.
const RECORDS: &str = "records";

/// Returns the measurements in the file that a suite wrote.
pub(crate) fn collect(name: &str, written: &Value) -> Suite {
    let mut suite = Suite { name: name.to_owned(), ..Suite::default() };
    match name {
        "sync" => sync(written, &mut suite),
        "link" => link(written, &mut suite),
        "reconcile" => reconcile(written, &mut suite),
        "years" => years(written, &mut suite),
        _ => storage(written, &mut suite),
    }
    suite.goals = list(&written["goals"]).map(Goal::read).collect();
    suite.not_compared = list(&written["not_compared"]).map(|line| text(line).to_owned()).collect();
    suite.fit();
    suite
}

fn storage(written: &Value, suite: &mut Suite) {
    for row in list(&written["rows"]) {
        let row = of_runs(text(&row["work"]), text(&row["who"]), text(&row["unit"]), &numbers(&row["runs"]));
        if let Some((work, size)) = split_size(&row.work) {
            suite.add_point(&work, RECORDS, &row, size);
        }
        suite.rows.push(row);
    }
}

fn sync(written: &Value, suite: &mut Suite) {
    for sync in list(&written["syncs"]) {
        let work = text(&sync["work"]);
        let times = numbers(&sync["milliseconds"]["runs"]);
        suite.rows.push(of_runs(work, OURS, "ms", &times));
        suite.rows.push(of_runs(work, OURS, "B", &numbers(&sync["bytes"]["runs"])));
        for (what, field, unit) in [
            ("most round trips", "round_trips", ""),
            ("peak memory, asking", "peak_mb_asking", "MB"),
            ("peak memory, asked", "peak_mb_asked", "MB"),
        ] {
            suite.rows.push(Row::new(format!("{work}: {what}"), OURS, unit, float(&sync[field])));
        }
    }
    for (name, times) in written["others"].as_object().into_iter().flatten() {
        let (work, who) = beside(name);
        suite.rows.push(of_runs(&work, &who, "ms", &numbers(times)));
    }
}

/// Returns the sync that another program's work is compared with, and the program.
fn beside(name: &str) -> (String, String) {
    let Some((who, work)) = name.strip_prefix('`').and_then(|name| name.split_once(" pull`, ")) else {
        return (name.to_owned(), OURS.to_owned());
    };
    let work = match work.split_once(": ") {
        Some((_, before)) => format!("1 % updated: {before}"),
        None if work == "nothing new" => "equal".to_owned(),
        None => "1 % updated".to_owned(),
    };
    (work, format!("{who} pull"))
}

fn link(written: &Value, suite: &mut Suite) {
    for row in list(&written["rows"]) {
        let work = text(&row["work"]);
        suite.rows.push(of_runs(work, OURS, "ms", &numbers(&row["milliseconds"])));
        if let Some(formula) = row["formula"].as_f64() {
            suite.rows.push(Row::new(work, "the formula", "ms", formula));
        }
        suite.rows.push(Row::new(work, OURS, "B", float(&row["bytes"])));
        suite.rows.push(Row::new(format!("{work}: most round trips"), OURS, "", float(&row["round_trips"])));
    }
}

/// Quantities of a reconciliation: a name, the beginning of its fields, and the unit.
const QUANTITIES: [(&str, &str, &str); 4] = [
    ("bytes both ways", "bytes", "B"),
    ("round trips", "round_trips", ""),
    ("CPU, asking", "asking_ms", "ms"),
    ("CPU, answering", "answering_ms", "ms"),
];

/// Differences that the short table shows, of those of the largest sets.
const SHOWN: [f64; 3] = [0.0, 100.0, 1_000.0];
/// The difference whose cost is followed over the size of the sets.
const FOLLOWED: f64 = 100.0;
/// The peer that sends the whole set: a bar of it would hide all others.
const LIST: &str = "plain list";

fn reconcile(written: &Value, suite: &mut Suite) {
    let largest = list(written).map(|row| float(&row["n"])).fold(0.0, f64::max);
    for (row, (what, field, unit)) in list(written).flat_map(|row| QUANTITIES.map(|quantity| (row, quantity)))
    {
        let median = float(&row[format!("{field}_median")]);
        // A peer that is counted, not run, has no times.
        if median.is_nan() || unit == "ms" && median == 0.0 {
            continue;
        }
        let (kind, n, d) = (row["kind"].as_str().unwrap_or("added"), float(&row["n"]), float(&row["d"]));
        let work = format!("{} {kind}, sets of {}: {what}", number(d), number(n));
        let mut one = Row::new(work, text(&row["who"]), unit, median);
        one.range = pair(&row[format!("{field}_range")]);
        one.is_detail = kind != "added" || n < largest || !SHOWN.contains(&d) || one.who == LIST;
        if kind == "added" && !unit.is_empty() {
            if d == FOLLOWED {
                suite.add_point(&format!("{} {kind}: {what}", number(d)), "entries of each set", &one, n);
            }
            if n == largest && d > 0.0 {
                suite.add_point(&format!("sets of {}: {what}", number(n)), "differing entries", &one, d);
            }
        }
        suite.rows.push(one);
    }
}

fn years(written: &Value, suite: &mut Suite) {
    let years: Vec<&Value> = list(&written["years"]).collect();
    for name in years.first().and_then(|year| year.as_object()).into_iter().flat_map(|year| year.keys()) {
        if name == "year" {
            continue;
        }
        let (work, unit) = match name.rsplit_once(' ') {
            Some((work, unit @ ("kB" | "ms" | "MB"))) => (work, unit),
            _ => (name.as_str(), if name.starts_with("bytes") { "B" } else { "" }),
        };
        let costs: Vec<f64> = years.iter().map(|year| float(&year[name])).collect();
        let row = of_runs(&format!("{work}, of all years"), OURS, unit, &costs);
        for (year, cost) in years.iter().zip(costs) {
            let of_year = Row { median: cost, ..row.clone() };
            suite.add_point(work, "year", &of_year, float(&year["year"]));
        }
        suite.rows.push(row);
    }
}

/// Returns the row of several runs.
fn of_runs(work: &str, who: &str, unit: &str, runs: &[f64]) -> Row {
    let middle = median(runs.iter().copied());
    Row::new(work, who, unit, middle).with_range((runs.len() > 1).then(|| range(runs)))
}

/// Splits the size off a task's name: the first number of four digits or more, which `N` replaces.
fn split_size(work: &str) -> Option<(String, f64)> {
    let word_of = |word: &str| {
        let bare = word.strip_suffix(',').unwrap_or(word);
        let digits: String = bare.chars().filter(|c| *c != ',').collect();
        let is_size = digits.len() >= 4 && digits.chars().all(|c| c.is_ascii_digit());
        is_size.then(|| Some((bare.to_owned(), digits.parse::<f64>().ok()?))).flatten()
    };
    let (word, size) = work.split(' ').find_map(word_of)?;
    Some((work.replacen(&word, "N", 1), size))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).filter_map(Value::as_f64).collect()
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn pair(value: &Value) -> Option<[f64; 2]> {
    Some([value[0].as_f64()?, value[1].as_f64()?])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(work: &str, who: &str, unit: &str, median: f64, range: Option<[f64; 2]>) -> Row {
        Row::new(work, who, unit, median).with_range(range)
    }

    #[test]
    fn a_size_is_a_number_of_four_digits_in_the_name() {
        let split = |work| split_size(work).map(|(work, size)| format!("{work} at {size}"));
        assert_eq!(split("change one of 1,000, CPU").as_deref(), Some("change one of N, CPU at 1000"));
        assert_eq!(
            split("file size for each record of 64 B, 100,000").as_deref(),
            Some("file size for each record of 64 B, N at 100000")
        );
        assert_eq!(split("seal 64 MiB"), None);
    }

    #[test]
    fn storage_has_rows_growth_and_goals() {
        let run = |size: &str, who: &str, runs: &[f64]| json!({ "work": format!("open {size}"), "who": who, "unit": "ms", "median": 0, "runs": runs });
        let suite = collect(
            "storage",
            &json!({
                "rows": [run("1,000", OURS, &[2.0, 1.0, 3.0]), run("1,000", "peer", &[4.0]), run("100,000", OURS, &[200.0])],
                "goals": [{ "goal": "open 1,000: at most 1", "reached": 2.0, "met": false }],
            }),
        );
        assert_eq!(
            suite.rows,
            [
                row("open 1,000", OURS, "ms", 2.0, Some([1.0, 3.0])),
                row("open 1,000", "peer", "ms", 4.0, None),
                row("open 100,000", OURS, "ms", 200.0, None)
            ]
        );
        assert_eq!(suite.growth.len(), 1);
        assert_eq!((&*suite.growth[0].work, suite.growth[0].axis.as_str()), ("open N", RECORDS));
        assert!((suite.growth[0].exponent.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(
            suite.goals,
            [Goal { goal: "open 1,000: at most 1".into(), reached: Some(2.0), is_met: false }]
        );
    }

    #[test]
    fn git_stands_beside_the_sync_of_the_same_change() {
        assert_eq!(beside("`git pull`, nothing new"), ("equal".into(), "git pull".into()));
        assert_eq!(
            beside("`pass pull`, 100 of 10000 files of 64 B"),
            ("1 % updated".into(), "pass pull".into())
        );
        assert_eq!(
            beside("`git pull`, 100 of 10000 files of 64 B: the commit before it"),
            ("1 % updated: the commit before it".into(), "git pull".into())
        );
        assert_eq!(beside("`stronghold list`"), ("`stronghold list`".into(), OURS.into()));
    }

    #[test]
    fn a_link_stands_beside_its_formula() {
        let rows = json!([{ "work": "50 ms", "milliseconds": [9.0, 7.0, 8.0], "bytes": 10, "round_trips": 3, "formula": 6.0 }]);
        let suite = collect("link", &json!({ "rows": rows, "goals": [] }));
        assert_eq!(
            suite.rows,
            [
                row("50 ms", OURS, "ms", 8.0, Some([7.0, 9.0])),
                row("50 ms", "the formula", "ms", 6.0, None),
                row("50 ms", OURS, "B", 10.0, None),
                row("50 ms: most round trips", OURS, "", 3.0, None)
            ]
        );
    }

    #[test]
    fn reconciliation_is_followed_over_both_sizes() {
        let one = |n, d, ms| {
            json!({ "who": OURS, "kind": "added", "n": n, "d": d, "bytes_median": 20 * d, "bytes_range": [d, 30 * d],
                    "asking_ms_median": ms, "asking_ms_range": [ms, ms] })
        };
        let rows = [one(1_000, 100, 1.0), one(10_000, 100, 10.0), one(10_000, 1_000, 10.0)];
        let suite = collect("reconcile", &json!(rows));
        let shown: Vec<&str> = suite.rows.iter().filter(|row| !row.is_detail).map(|row| &*row.work).collect();
        assert_eq!(
            shown,
            [
                "100 added, sets of 10,000: bytes both ways",
                "100 added, sets of 10,000: CPU, asking",
                "1,000 added, sets of 10,000: bytes both ways",
                "1,000 added, sets of 10,000: CPU, asking"
            ]
        );
        let growth: Vec<(&str, &str, f64)> = suite
            .growth
            .iter()
            .map(|series| (&*series.work, &*series.axis, series.exponent.unwrap().round()))
            .collect();
        assert_eq!(
            growth,
            [
                ("100 added: bytes both ways", "entries of each set", 0.0),
                ("100 added: CPU, asking", "entries of each set", 1.0),
                ("sets of 10,000: bytes both ways", "differing entries", 1.0),
                ("sets of 10,000: CPU, asking", "differing entries", 0.0)
            ]
        );
    }

    #[test]
    fn years_are_one_row_and_one_series_for_each_quantity() {
        let years = json!([{ "year": 1.0, "file kB": 100.0 }, { "year": 2.0, "file kB": 200.0 }]);
        let suite = collect("years", &json!({ "years": years }));
        assert_eq!(suite.rows, [row("file, of all years", OURS, "kB", 200.0, Some([100.0, 200.0]))]);
        assert_eq!(suite.growth[0].points, [[1.0, 100.0], [2.0, 200.0]]);
    }
}
