//! The report of all suites: a table for the terminal, and a page.

mod html;
mod svg;

use super::measured::{Goal, OURS, Report, Row, Series, Suite, number};

pub(crate) use html::page;

/// Returns the tables for the terminal. Details are left out.
pub(crate) fn table(report: &Report) -> String {
    let mut text = head_lines(report).map(|line| line + "\n").concat();
    for suite in &report.suites {
        text += &format!("\n{}\n", suite.name);
        if let Some(failure) = &suite.failure {
            text += &format!("FAILED: {failure}\n");
        }
        text += &rows(suite);
        text += &growth(suite);
        text += &suite.goals.iter().map(goal).collect::<String>();
        text += &suite.not_compared.iter().map(|line| format!("{line}\n")).collect::<String>();
    }
    text
}

/// Returns the lines above the tables: the run, the computer and the sum of all.
fn head_lines(report: &Report) -> [String; 3] {
    let machine = &report.machine;
    let quick = if report.is_quick { " --quick" } else { "" };
    [
        format!("bench all{quick}, {}, commit {}", machine.date, machine.commit),
        format!("{} cores, {}, {}; {}", machine.cores, machine.processor, machine.kernel, load_text(report)),
        sum_text(report),
    ]
}

/// Returns the numbers of suites that ran and of goals that were met.
fn sum_text(report: &Report) -> String {
    let ran = report.suites.iter().filter(|suite| suite.failure.is_none()).count();
    let goals: Vec<&Goal> = report.suites.iter().flat_map(|suite| &suite.goals).collect();
    let met = goals.iter().filter(|goal| goal.is_met).count();
    format!("{ran} of {} suites ran; {met} of {} goals are met", report.suites.len(), goals.len())
}

/// Returns the load before the run, and what it means for the numbers.
fn load_text(report: &Report) -> String {
    let load = report.machine.load.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
    let note = if report.machine.is_busy() {
        ": other programs were running, so wall times are too long; CPU times and bytes hold"
    } else {
        ""
    };
    format!("load before the run {load}{note}")
}

fn rows(suite: &Suite) -> String {
    let mut groups = suite.groups();
    groups.retain(|group| !group[0].is_detail);
    if groups.is_empty() {
        return String::new();
    }
    let mut text =
        format!("{:<60} {:<24} {:>10} {:>21} {:<8} {:>9}\n", "", "", "median", "min - max", "", "to ours");
    for group in groups {
        for (at, row) in group.iter().enumerate() {
            let work = if at == 0 { &*row.work } else { "" };
            text += &format!(
                "{work:<60} {:<24} {:>10} {:>21} {:<8} {:>9}\n",
                row.who,
                number(row.median),
                spread(row),
                row.unit,
                to_ours(row, &group)
            );
        }
    }
    text
}

fn spread(row: &Row) -> String {
    row.range.map_or(String::new(), |[least, most]| format!("{} - {}", number(least), number(most)))
}

/// Returns a peer's median as a multiple of ours.
fn to_ours(row: &Row, group: &[&Row]) -> String {
    match group.first() {
        Some(ours) if ours.who == OURS && row.who != OURS && ours.median > 0.0 => {
            format!("{}x", number(row.median / ours.median))
        }
        _ => String::new(),
    }
}

fn growth(suite: &Suite) -> String {
    if suite.growth.is_empty() {
        return String::new();
    }
    let mut text =
        format!("{:<60} {:<24} {:>10}  sizes: medians\n", "growth, as a power of the size", "", "exponent");
    for group in suite.growth_groups() {
        for (at, series) in group.iter().enumerate() {
            let work = if at == 0 { growth_title(series) } else { String::new() };
            text += &format!(
                "{work:<60} {:<24} {:>10}  {}\n",
                series.who,
                exponent_text(series),
                few_points_text(series)
            );
        }
    }
    text
}

/// Returns the work, the unit and the size that grows.
fn growth_title(series: &Series) -> String {
    let unit = if series.unit.is_empty() { String::new() } else { format!(" ({})", series.unit) };
    format!("{}{unit} by {}", series.work, series.axis)
}

fn exponent_text(series: &Series) -> String {
    // Adds zero, so that a small negative number is not shown as -0.00.
    series.exponent.map_or("-".to_owned(), |fitted| format!("{:.2}", (fitted * 100.0).round() / 100.0 + 0.0))
}

/// Returns each size with its median.
fn points_text(series: &Series) -> String {
    series.points.iter().map(point_text).collect::<Vec<_>>().join("; ")
}

/// Returns the points of a line in the terminal: of many only the first and the last.
fn few_points_text(series: &Series) -> String {
    match series.points.as_slice() {
        [first, .., last] if series.points.len() > 4 => {
            format!("{}; ...; {}", point_text(first), point_text(last))
        }
        _ => points_text(series),
    }
}

fn point_text([size, cost]: &[f64; 2]) -> String {
    format!("{}: {}", number(*size), number(*cost))
}

fn goal(goal: &Goal) -> String {
    let met = if goal.is_met { "met" } else { "MISSED" };
    format!("goal: {:<75} {:>10} {met}\n", goal.goal, number(goal.reached.unwrap_or(f64::NAN)))
}

#[cfg(test)]
mod tests {
    use super::{
        super::measured::{Machine, exponent},
        *,
    };

    /// Returns two suites: one with a peer, a growth and a missed goal, and one that failed.
    fn small() -> Report {
        let points = vec![[1e3, 2.0], [1e5, 200.0]];
        let growth = Series {
            work: "open N".into(),
            who: OURS.into(),
            unit: "ms".into(),
            axis: "records".into(),
            exponent: exponent(&points),
            points,
        };
        let storage = Suite {
            name: "storage".into(),
            rows: vec![
                Row::new("open <all>", "peer & co", "ms", 8.0),
                Row::new("open <all>", OURS, "ms", 2.0).with_range(Some([1.5, 1_200.0])),
                Row { is_detail: true, ..Row::new("a detail", OURS, "B", 7.0) },
            ],
            growth: vec![growth],
            goals: vec![
                Goal { goal: "open: at most 1".into(), reached: Some(2.0), is_met: false },
                Goal { goal: "size: at most 9".into(), reached: Some(8.0), is_met: true },
            ],
            not_compared: vec!["not compared: <x>".into()],
            ..Suite::default()
        };
        let link =
            Suite { name: "link".into(), failure: Some("`serve` said <nothing>".into()), ..Suite::default() };
        let machine = Machine {
            cores: 2,
            processor: "R&D 9".into(),
            kernel: "Linux 6".into(),
            commit: "abc".into(),
            date: "today".into(),
            load: Some(0.1),
        };
        Report { machine, is_quick: true, suites: vec![storage, link] }
    }

    #[test]
    fn the_table_has_every_suite_peer_exponent_and_goal() {
        let table = table(&small());
        let lines: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "bench all --quick, today, commit abc",
                "2 cores, R&D 9, Linux 6; load before the run 0.1",
                "1 of 2 suites ran; 1 of 2 goals are met",
                "",
                "storage",
                "median min - max to ours",
                "open <all> stronghold 2 1.50 - 1,200 ms",
                "peer & co 8 ms 4x",
                "growth, as a power of the size exponent sizes: medians",
                "open N (ms) by records stronghold 1.00 1,000: 2; 100,000: 200",
                "goal: open: at most 1 2 MISSED",
                "goal: size: at most 9 8 met",
                "not compared: <x>",
                "",
                "link",
                "FAILED: `serve` said <nothing>",
            ]
        );
    }

    #[test]
    fn the_page_has_the_same_escaped_and_needs_nothing_else() {
        let page = page(&small());
        for piece in [
            "<p class=\"faint\">2 cores, R&amp;D 9, Linux 6; load before the run 0.1</p>",
            "<tr class=\"first\"><td>open &lt;all&gt;</td><td>stronghold</td><td class=\"n\">2</td>\
             <td class=\"n\">1.50 - 1,200</td><td>ms</td><td class=\"n\"></td></tr>",
            "<tr><td></td><td>peer &amp; co</td><td class=\"n\">8</td><td class=\"n\"></td><td>ms</td><td class=\"n\">4x</td></tr>",
            "<td>open: at most 1</td><td class=\"n\">2</td><td class=\"missed\">missed</td>",
            "<td>size: at most 9</td><td class=\"n\">8</td><td class=\"met\">met</td>",
            "<p class=\"missed\">This suite failed: `serve` said &lt;nothing&gt;</p>",
            "<figcaption>open &lt;all&gt;<span>less is better</span></figcaption>",
            "<li><b class=\"c0\"></b>stronghold, exponent 1.00</li>",
            "<details><summary>Further measurements</summary>",
            "<p class=\"faint\">not compared: &lt;x&gt;</p>",
        ] {
            assert!(page.contains(piece), "{piece} is missing in\n{page}");
        }
        for outside in ["http:", "https:", "<script", "<link", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
    }

    #[test]
    fn many_sizes_are_shown_by_the_first_and_the_last() {
        let mut years = small().suites[0].growth[0].clone();
        years.points = (1..=10).map(|year| [f64::from(year), 7.0]).collect();
        assert_eq!(few_points_text(&years), "1: 7; ...; 10: 7");
        assert!(points_text(&years).ends_with("9: 7; 10: 7"));
    }

    #[test]
    fn a_busy_machine_is_named_in_both() {
        let mut report = small();
        report.machine.load = Some(3.0);
        assert!(table(&report).contains("wall times are too long"));
        assert!(page(&report).contains("wall times are too long"));
    }
}
