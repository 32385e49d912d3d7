//! The table of the years, as text, as JSON and as a picture.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::Taken;

/// Measurements of one year.
pub(crate) struct Year(Vec<(&'static str, f64)>);

impl Year {
    pub(crate) fn new(
        (year, file, live, tombstones): (u32, u64, u64, u64),
        lists: &[usize],
        returned: u64,
        taken: Taken,
    ) -> Self {
        let entries: usize = lists.iter().sum();
        Self(vec![
            ("year", f64::from(year)),
            ("file kB", file as f64 / 1e3),
            ("live records", live as f64),
            ("bytes a live record", file as f64 / live as f64),
            ("tombstones", tombstones as f64),
            ("ids in a list", entries as f64 / lists.len() as f64),
            ("longest list", lists.iter().copied().max().unwrap_or_default() as f64),
            ("sync kB", median(taken.bytes) / 1e3),
            ("sync ms", median(taken.millis)),
            ("equal sync kB", median(taken.equal_bytes) / 1e3),
            ("equal sync ms", median(taken.equal_millis)),
            ("memory MB", memory() / 1e3),
            ("values back", returned as f64),
        ])
    }

    pub(crate) fn heading() -> String {
        Self::new((0, 0, 1, 0), &[1], 0, Taken::default()).0.iter().map(|(name, _)| cell(name)).collect()
    }

    pub(crate) fn line(&self) -> String {
        self.0
            .iter()
            .map(|(name, value)| format!("{:>width$}", number(*value), width = cell(name).len()))
            .collect()
    }

    fn get(&self, wanted: &str) -> f64 {
        self.0.iter().find(|(name, _)| *name == wanted).map_or(f64::NAN, |(_, value)| *value)
    }

    fn json(&self) -> Value {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    }
}

fn cell(name: &str) -> String {
    format!("{name:>width$}", width = name.len().max(6) + 2)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Returns this process's resident memory, in kB.
fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Prints the goals and writes `years.json` and `years.svg`.
pub(crate) fn write(years: &[Year], is_quick: bool) {
    let (Some(first), Some(last)) = (years.first(), years.last()) else { return };
    println!();
    let mut goals = Vec::new();
    for (what, name, limit) in [
        ("file for a live record", "bytes a live record", 1.5),
        ("bytes of a sync", "sync kB", 1.2),
        ("time of a sync", "sync ms", 1.2),
        ("bytes of an equal sync", "equal sync kB", 1.2),
    ] {
        let ratio = last.get(name) / first.get(name);
        let met = if ratio <= limit { "met" } else { "MISSED" };
        println!("{what}, year ten to year one: {ratio:.2}, at most {limit}: {met}");
        goals.push(json!({
            "goal": format!("{what}, year ten to year one: at most {limit}"), "reached": ratio, "met": ratio <= limit,
        }));
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&folder).unwrap();
    let table: Vec<Value> = years.iter().map(Year::json).collect();
    let all = json!({ "quick": is_quick, "years": table, "goals": goals });
    fs::write(folder.join("years.json"), format!("{all:#}\n")).unwrap();
    fs::write(folder.join("years.svg"), picture(years)).unwrap();
    println!("years.json and years.svg are in {}", folder.display());
}

/// Draws each quantity relative to the first year.
fn picture(years: &[Year]) -> String {
    const COLOURS: [&str; 4] = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad"];
    let drawn = ["bytes a live record", "sync kB", "sync ms", "equal sync ms"];
    let (x, y) = (|year: usize| 60 + 60 * year, |ratio: f64| 360.0 - 120.0 * ratio.min(2.9));
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 420\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"760\" height=\"420\" fill=\"white\"/>\n",
    );
    for ratio in 0..3 {
        let at = y(f64::from(ratio));
        svg += &format!(
            "<line x1=\"60\" x2=\"600\" y1=\"{at}\" y2=\"{at}\" stroke=\"#ccc\"/><text x=\"25\" y=\"{at}\">{ratio}</text>\n"
        );
    }
    for (index, (name, colour)) in drawn.iter().zip(COLOURS).enumerate() {
        let first = years.first().map_or(1.0, |year| year.get(name));
        let points: Vec<String> = (0..)
            .zip(years)
            .map(|(at, year)| format!("{},{:.1}", x(at), y(year.get(name) / first)))
            .collect();
        svg += &format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n<text x=\"610\" y=\"{}\" fill=\"{colour}\">{name}</text>\n",
            points.join(" "),
            60 + 20 * index
        );
    }
    for at in 0..years.len() {
        svg += &format!("<text x=\"{}\" y=\"385\">{}</text>\n", x(at), at + 1);
    }
    svg + "<text x=\"60\" y=\"408\">year; each quantity relative to its first year</text>\n</svg>\n"
}
