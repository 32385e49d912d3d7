//! The plots: bars of ours beside the peers, and growth on logarithmic axes. Colours are classes
//! that the page's style defines, so that a plot is readable in light and dark.

use super::{Row, Series, number};

/// Returns text that stands for itself in HTML and SVG, also within an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// Height of a bar with its label.
const BAR: f64 = 38.0;
/// Length of the longest bar.
const LONGEST: f64 = 250.0;

/// Draws a bar for each row, as long as its median, with a line from minimum to maximum.
pub(super) fn bars(rows: &[&Row]) -> String {
    let ends = rows.iter().flat_map(|row| [Some(row.median), row.range.map(|[_, most]| most)]);
    let most = ends.flatten().fold(0.0, f64::max);
    let x = |value: f64| if most > 0.0 { value / most * LONGEST } else { 0.0 };
    let mut svg = open(LONGEST + 90.0, BAR * rows.len() as f64);
    for (at, row) in rows.iter().enumerate() {
        let top = BAR * at as f64;
        let (bar, middle) = (top + 17.0, top + 24.0);
        svg += &format!("<text x=\"0\" y=\"{}\">{}</text>", top + 12.0, escape(&row.who));
        svg += &format!(
            "<rect class=\"c{}\" x=\"0\" y=\"{bar}\" width=\"{:.1}\" height=\"14\"/>",
            colour(at),
            x(row.median).max(1.0)
        );
        let mut end = x(row.median);
        if let Some([least, most]) = row.range {
            end = end.max(x(most));
            svg += &format!(
                "<line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>",
                x(least),
                x(most)
            );
        }
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{}\">{} {}</text>",
            end + 6.0,
            top + 28.0,
            number(row.median),
            escape(&row.unit)
        );
    }
    svg + "</svg>\n"
}

// Edges of the plot of a growth.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 320.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 190.0;

/// Draws the series on two logarithmic axes. The costs' axis shows whole powers of ten, at least
/// two of them; the sizes' axis those that were measured.
pub(super) fn growth(series: &[&Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points).filter(|point| is_drawn(point));
    let ends = |of: usize| {
        let logs = points().map(|point| point[of].log10());
        logs.fold([f64::MAX, f64::MIN], |[least, most], log| [least.min(log), most.max(log)])
    };
    let (sizes, costs) = (ends(0), ends(1));
    if points().next().is_none() || sizes[0] == sizes[1] {
        return String::new();
    }
    let low = costs[0].floor();
    let high = costs[1].ceil().max(low + 1.0);
    let x = |size: f64| LEFT + (size.log10() - sizes[0]) / (sizes[1] - sizes[0]) * (RIGHT - LEFT);
    let y = |log: f64| BOTTOM - (log - low) / (high - low) * (BOTTOM - TOP);
    let mut svg = open(RIGHT + 40.0, BOTTOM + 45.0);
    let step = ((high - low) / 6.0).ceil().max(1.0);
    for tick in (0..).map(|tick| low + step * f64::from(tick)).take_while(|tick| *tick <= high) {
        let at = y(tick);
        svg += &format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        svg += &label(LEFT - 6.0, at + 4.0, "end", &power_of_ten(tick));
    }
    let mut shown: Vec<f64> = points().map(|point| point[0]).collect();
    shown.sort_by(f64::total_cmp);
    shown.dedup();
    shown.iter().for_each(|size| svg += &label(x(*size), BOTTOM + 18.0, "middle", &number(*size)));
    svg += &format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        LEFT.midpoint(RIGHT),
        BOTTOM + 38.0,
        series.first().map_or(String::new(), |series| escape(&series.axis))
    );
    for (at, series) in series.iter().enumerate() {
        let drawn = series.points.iter().filter(|point| is_drawn(point));
        let places: Vec<[f64; 2]> = drawn.map(|[size, cost]| [x(*size), y(cost.log10())]).collect();
        svg += &line(colour(at), &places);
    }
    svg + "</svg>\n"
}

/// Returns whether a point has a place on logarithmic axes.
fn is_drawn([size, cost]: &[f64; 2]) -> bool {
    *size > 0.0 && *cost > 0.0
}

fn line(colour: usize, places: &[[f64; 2]]) -> String {
    let points: Vec<String> = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    let dots: String = places
        .iter()
        .map(|[x, y]| format!("<circle class=\"c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"))
        .collect();
    format!("<polyline class=\"l{colour}\" points=\"{}\"/>{dots}", points.join(" "))
}

/// Returns a power of ten by its exponent: its digits alone, where it is below one.
fn power_of_ten(exponent: f64) -> String {
    let power = 10_f64.powf(exponent);
    if exponent < 0.0 { format!("{power:.*}", -exponent as usize) } else { number(power) }
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
}

/// Returns the number of the colour of the n-th program. The first is ours.
pub(super) fn colour(at: usize) -> usize {
    at % 6
}

fn open(width: f64, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_html_is_escaped() {
        assert_eq!(escape("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
        let row = Row::new("", "<script>", "\"", 1.0);
        let drawn = bars(&[&row]);
        assert!(drawn.contains(">&lt;script&gt;</text>") && drawn.contains(">1 &quot;</text>"), "{drawn}");
        let axis = "</svg>".to_owned();
        let points = vec![[1.0, 1.0], [2.0, 2.0]];
        let one = Series {
            work: axis.clone(),
            who: axis.clone(),
            unit: axis.clone(),
            axis,
            points,
            exponent: None,
        };
        let drawn = growth(&[&one]);
        assert!(drawn.contains(">&lt;/svg&gt;</text>"), "{drawn}");
        assert_eq!(drawn.matches("</svg>").count(), 1);
    }

    #[test]
    fn bars_are_as_long_as_their_medians_and_show_the_spread() {
        let ours = Row::new("", "ours", "ms", 2.0).with_range(Some([1.0, 4.0]));
        let drawn = bars(&[&ours, &Row::new("", "peer", "ms", 8.0)]);
        assert!(
            drawn.contains("<rect class=\"c0\" x=\"0\" y=\"17\" width=\"62.5\" height=\"14\"/>"),
            "{drawn}"
        );
        assert!(drawn.contains("x1=\"31.2\" x2=\"125.0\" y1=\"24\""), "{drawn}");
        assert!(
            drawn.contains("<rect class=\"c1\" x=\"0\" y=\"55\" width=\"250.0\" height=\"14\"/>"),
            "{drawn}"
        );
    }

    #[test]
    fn a_power_is_a_straight_line_between_the_corners() {
        let points = vec![[1e3, 1.0], [1e4, 10.0], [1e5, 100.0], [1e6, 0.0]];
        let one = Series {
            work: String::new(),
            who: String::new(),
            unit: String::new(),
            axis: "n".into(),
            points,
            exponent: None,
        };
        let drawn = growth(&[&one]);
        assert!(drawn.contains("points=\"70.0,190.0 195.0,101.0 320.0,12.0\""), "{drawn}");
        assert!(drawn.contains(">1,000</text>") && drawn.contains(">100,000</text>"), "{drawn}");
        assert!(!drawn.contains(">1,000,000</text>"), "{drawn}");
    }

    #[test]
    fn powers_of_ten_have_no_more_digits_than_they_need() {
        assert_eq!([-3.0, -1.0, 0.0, 6.0].map(power_of_ten), ["0.001", "0.1", "1", "1,000,000"]);
    }

    #[test]
    fn a_series_of_zeros_has_no_plot() {
        let points = vec![[1.0, 0.0], [2.0, 0.0]];
        let zeros = Series {
            work: String::new(),
            who: String::new(),
            unit: String::new(),
            axis: String::new(),
            points,
            exponent: None,
        };
        assert_eq!(growth(&[&zeros]), "");
    }
}
