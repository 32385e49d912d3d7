//! Measurements of all suites in one form: rows, growth series and goals, and the growth exponent
//! of a series.

use serde::Serialize;
use serde_json::Value;

/// The name of this program among its peers.
pub(crate) const OURS: &str = "stronghold";

/// One task by one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) who: String,
    pub(crate) unit: String,
    pub(crate) median: f64,
    /// Minimum and maximum; `None` where the suite keeps one number.
    pub(crate) range: Option<[f64; 2]>,
    /// Not drawn as a bar. A task that begins with a detail is left out of the table in the
    /// terminal, and folded in the page.
    #[serde(rename = "detail")]
    pub(crate) is_detail: bool,
}

impl Row {
    pub(crate) fn new(work: impl Into<String>, who: &str, unit: &str, median: f64) -> Self {
        let (work, who, unit) = (work.into(), who.to_owned(), unit.to_owned());
        Self { work, who, unit, median, range: None, is_detail: false }
    }

    pub(crate) fn with_range(self, range: Option<[f64; 2]>) -> Self {
        Self { range, ..self }
    }
}

/// A task by one program at several sizes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Series {
    pub(crate) work: String,
    pub(crate) who: String,
    pub(crate) unit: String,
    /// The size that grows.
    pub(crate) axis: String,
    /// Size and median, in the order of measurement.
    pub(crate) points: Vec<[f64; 2]>,
    /// The fitted exponent: 0 for a cost that stays, 1 for one that grows with the size.
    pub(crate) exponent: Option<f64>,
}

/// A goal of a suite, in words, with its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Goal {
    pub(crate) goal: String,
    pub(crate) reached: Option<f64>,
    #[serde(rename = "met")]
    pub(crate) is_met: bool,
}

impl Goal {
    /// Reads a goal as the suites write it.
    pub(crate) fn read(goal: &Value) -> Self {
        let text = goal["goal"].as_str().unwrap_or_default().to_owned();
        Self { goal: text, reached: goal["reached"].as_f64(), is_met: goal["met"] == true }
    }
}

/// The measurements of one suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Suite {
    pub(crate) name: String,
    /// The error that ended the suite.
    pub(crate) failure: Option<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) growth: Vec<Series>,
    pub(crate) goals: Vec<Goal>,
    /// Peers that could not be measured, each with the reason.
    pub(crate) not_compared: Vec<String>,
}

impl Suite {
    /// Adds a point to the series of this work, axis and unit by this program, or begins it.
    pub(crate) fn add_point(&mut self, work: &str, axis: &str, row: &Row, size: f64) {
        let (who, unit) = (&row.who, &row.unit);
        let same = |known: &&mut Series| {
            known.work == work && known.axis == axis && known.who == *who && known.unit == *unit
        };
        let point = [size, row.median];
        match self.growth.iter_mut().find(same) {
            Some(known) => known.points.push(point),
            None => self.growth.push(Series {
                work: work.to_owned(),
                who: who.clone(),
                unit: unit.clone(),
                axis: axis.to_owned(),
                points: vec![point],
                exponent: None,
            }),
        }
    }

    /// Fits the exponents; drops series of a single size.
    pub(crate) fn fit(&mut self) {
        self.growth.iter_mut().for_each(|series| series.exponent = exponent(&series.points));
        self.growth.retain(|series| series.points.iter().any(|[size, _]| *size != series.points[0][0]));
    }

    /// Returns the rows by task and unit, in the order of measurement, each with ours first.
    pub(crate) fn groups(&self) -> Vec<Vec<&Row>> {
        let mut groups = grouped(&self.rows, |one, other| one.work == other.work && one.unit == other.unit);
        groups.iter_mut().for_each(|group| group.sort_by_key(|row| row.who != OURS));
        groups
    }

    /// Returns the series by task, axis and unit, each with ours first.
    pub(crate) fn growth_groups(&self) -> Vec<Vec<&Series>> {
        let mut groups = grouped(&self.growth, |one, other| {
            one.work == other.work && one.axis == other.axis && one.unit == other.unit
        });
        groups.iter_mut().for_each(|group| group.sort_by_key(|series| series.who != OURS));
        groups
    }
}

/// Returns the items in groups, in the order of each group's first item.
fn grouped<T>(items: &[T], is_same: impl Fn(&T, &T) -> bool) -> Vec<Vec<&T>> {
    let mut groups: Vec<Vec<&T>> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|group| is_same(group[0], item)) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// The computer and the state of the sources.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    /// The time of the start, in UTC.
    pub(crate) date: String,
    /// The average number of waiting processes in the minute before the start.
    pub(crate) load: Option<f64>,
}

impl Machine {
    /// Returns whether other programs took much of the machine: wall times are not reliable then.
    pub(crate) fn is_busy(&self) -> bool {
        self.load.is_some_and(|load| load > self.cores as f64 / 4.0)
    }
}

/// All suites of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    #[serde(rename = "quick")]
    pub(crate) is_quick: bool,
    pub(crate) suites: Vec<Suite>,
}

/// Returns the slope of the least squares line through the logarithms of sizes and costs. `None`
/// with fewer than two sizes; points without a logarithm are left out.
pub(crate) fn exponent(points: &[[f64; 2]]) -> Option<f64> {
    let logs: Vec<[f64; 2]> = points
        .iter()
        .filter(|[size, cost]| *size > 0.0 && *cost > 0.0)
        .map(|point| point.map(f64::ln))
        .collect();
    let mean = |of: usize| logs.iter().map(|log| log[of]).sum::<f64>() / logs.len() as f64;
    let [size, cost] = [mean(0), mean(1)];
    let square: f64 = logs.iter().map(|log| (log[0] - size).powi(2)).sum();
    let product: f64 = logs.iter().map(|log| (log[0] - size) * (log[1] - cost)).sum();
    (square > 0.0).then(|| product / square)
}

/// Returns a number with about three digits, its thousands apart; `-` if there is none.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if !value.is_finite() => return "-".to_owned(),
        _ if value.fract() == 0.0 || size >= 100.0 => 0,
        _ if size >= 1.0 => usize::from(size < 10.0) + 1,
        _ => (2.0 - size.log10().floor()) as usize,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((&*text, String::new()), |(a, b)| (a, format!(".{b}")));
    let mut apart = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !apart.ends_with('-') {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        let shown = [0.0, 0.012_345, 0.5, 1.0, 1.234, 12.34, 123.4, 1_234.5, 11_842.8, 1e6, -1e5, f64::NAN]
            .map(number);
        assert_eq!(
            shown,
            [
                "0",
                "0.0123",
                "0.500",
                "1",
                "1.23",
                "12.3",
                "123",
                "1,234",
                "11,843",
                "1,000,000",
                "-100,000",
                "-"
            ]
        );
    }

    fn assert_exponent(points: &[[f64; 2]], expected: f64) {
        let fitted = exponent(points).unwrap();
        assert!((fitted - expected).abs() < 1e-9, "{fitted} instead of {expected}");
    }

    #[test]
    fn the_exponent_of_known_series_is_found() {
        assert_exponent(&[[1e3, 7.0], [1e4, 7.0], [1e6, 7.0]], 0.0);
        assert_exponent(&[[1e3, 2.0], [1e5, 200.0]], 1.0);
        assert_exponent(&[[1.0, 5.0], [2.0, 20.0], [4.0, 80.0], [8.0, 320.0]], 2.0);
        assert_exponent(&[[100.0, 3.0], [10_000.0, 0.3]], -0.5);
        // By hand: logarithms to base ten (0, 0), (1, 1), (2, 1) have the slope 1/2.
        assert_exponent(&[[1.0, 1.0], [10.0, 10.0], [100.0, 10.0]], 0.5);
    }

    #[test]
    fn a_point_without_a_logarithm_is_left_out() {
        assert_exponent(&[[0.0, 9.0], [10.0, 1.0], [50.0, 0.0], [1_000.0, 100.0]], 1.0);
    }

    #[test]
    fn fewer_than_two_sizes_have_no_exponent() {
        assert_eq!(exponent(&[]), None);
        assert_eq!(exponent(&[[10.0, 1.0]]), None);
        assert_eq!(exponent(&[[10.0, 1.0], [10.0, 2.0]]), None);
        assert_eq!(exponent(&[[10.0, 0.0], [20.0, 2.0]]), None);
    }

    #[test]
    fn points_of_the_same_work_become_one_series_and_single_ones_are_dropped() {
        let mut suite = Suite::default();
        let row = |who: &str, median| Row::new("", who, "ms", median);
        suite.add_point("open N", "records", &row(OURS, 1.0), 1e3);
        suite.add_point("open N", "records", &row("peer", 9.0), 1e3);
        suite.add_point("open N", "records", &row(OURS, 10.0), 1e4);
        suite.fit();
        assert_eq!(suite.growth.len(), 1);
        assert_eq!(suite.growth[0].points, [[1e3, 1.0], [1e4, 10.0]]);
        assert_eq!(suite.growth[0].exponent.map(|fitted| (fitted * 1e9).round()), Some(1e9));
    }

    #[test]
    fn rows_of_the_same_work_and_unit_are_one_group_with_ours_first() {
        let row = |work: &str, who: &str, unit: &str| Row::new(work, who, unit, 1.0);
        let rows =
            vec![row("a", "peer", "ms"), row("b", OURS, "ms"), row("a", OURS, "ms"), row("a", OURS, "B")];
        let suite = Suite { rows, ..Suite::default() };
        let groups: Vec<Vec<&str>> =
            suite.groups().iter().map(|group| group.iter().map(|row| &*row.who).collect()).collect();
        assert_eq!(groups, [vec![OURS, "peer"], vec![OURS], vec![OURS]]);
    }
}
