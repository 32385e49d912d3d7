//! The page: one file with its style and its plots, without scripts and without a network.

use super::{
    Goal, Report, Row, Series, Suite, exponent_text, growth_title, head_lines, number, points_text, spread,
    svg::{self, colour, escape},
    to_ours,
};

const STYLE: &str = include_str!("style.css");

/// Returns the page of a run.
pub(crate) fn page(report: &Report) -> String {
    let lines = head_lines(report).map(|line| format!("<p class=\"faint\">{}</p>\n", escape(&line)));
    let suites: String = report.suites.iter().map(suite).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Stronghold beside its peers</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Stronghold beside its peers</h1>\n{}{suites}</body>\n</html>\n",
        lines.concat()
    )
}

fn suite(suite: &Suite) -> String {
    let mut html = format!("<h2>{}</h2>\n", escape(&suite.name));
    if let Some(failure) = &suite.failure {
        html += &format!("<p class=\"missed\">This suite failed: {}</p>\n", escape(failure));
    }
    html += &goals(&suite.goals);
    let (details, main): (Vec<_>, Vec<_>) = suite.groups().into_iter().partition(|group| group[0].is_detail);
    html += &section("Growth", &plots(suite.growth_groups().iter().map(|group| growth_figure(group))));
    html += &section("Beside peers", &plots(main.iter().map(|group| bar_figure(group))));
    html += &section("All measurements", &rows(&main));
    html += &growth_table(suite);
    if !details.is_empty() {
        html += &format!("<details><summary>Further measurements</summary>\n{}</details>\n", rows(&details));
    }
    html += &suite
        .not_compared
        .iter()
        .map(|line| format!("<p class=\"faint\">{}</p>\n", escape(line)))
        .collect::<String>();
    html
}

/// Returns a part of the page with its heading, or nothing if it is empty.
fn section(heading: &str, html: &str) -> String {
    if html.is_empty() { String::new() } else { format!("<h3>{heading}</h3>\n{html}") }
}

fn plots(figures: impl Iterator<Item = String>) -> String {
    let figures: String = figures.collect();
    if figures.is_empty() { figures } else { format!("<div class=\"plots\">\n{figures}</div>\n") }
}

/// Returns the bars of a task that several programs did.
fn bar_figure(group: &[&Row]) -> String {
    let drawn: Vec<&Row> = group.iter().copied().filter(|row| !row.is_detail).collect();
    if drawn.len() < 2 {
        return String::new();
    }
    let better = if drawn[0].unit.contains('/') { "more is better" } else { "less is better" };
    format!(
        "<figure><figcaption>{}<span>{better}</span></figcaption>\n{}</figure>\n",
        escape(&drawn[0].work),
        svg::bars(&drawn)
    )
}

fn growth_figure(group: &[&Series]) -> String {
    let plot = svg::growth(group);
    if plot.is_empty() {
        return plot;
    }
    let entry = |(at, series): (usize, &&Series)| {
        let (colour, who) = (colour(at), escape(&series.who));
        format!("<li><b class=\"c{colour}\"></b>{who}, exponent {}</li>", exponent_text(series))
    };
    let legend: String = group.iter().enumerate().map(entry).collect();
    format!(
        "<figure><figcaption>{}</figcaption>\n{plot}<ul class=\"legend\">{legend}</ul></figure>\n",
        escape(&growth_title(group[0]))
    )
}

fn goals(goals: &[Goal]) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let row = |goal: &Goal| {
        let (class, word) = if goal.is_met { ("met", "met") } else { ("missed", "missed") };
        format!(
            "<tr class=\"first\"><td>{}</td><td class=\"n\">{}</td><td class=\"{class}\">{word}</td></tr>\n",
            escape(&goal.goal),
            number(goal.reached.unwrap_or(f64::NAN))
        )
    };
    let rows: String = goals.iter().map(row).collect();
    section("Goals", &table("<th>goal</th><th class=\"n\">reached</th><th></th>", &rows))
}

fn rows(groups: &[Vec<&Row>]) -> String {
    let row = |group: &[&Row], at: usize| {
        let row = group[at];
        format!(
            "<tr{}><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td></tr>\n",
            if at == 0 { " class=\"first\"" } else { "" },
            if at == 0 { escape(&row.work) } else { String::new() },
            escape(&row.who),
            number(row.median),
            spread(row),
            escape(&row.unit),
            to_ours(row, group)
        )
    };
    let rows: String = groups.iter().flat_map(|group| (0..group.len()).map(|at| row(group, at))).collect();
    if rows.is_empty() {
        return rows;
    }
    let heads = "<th>work</th><th>program</th><th class=\"n\">median</th><th class=\"n\">min - max</th><th>unit</th><th class=\"n\">to ours</th>";
    table(heads, &rows)
}

fn growth_table(suite: &Suite) -> String {
    let row = |group: &[&Series], at: usize| {
        let series = group[at];
        format!(
            "<tr{}><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
            if at == 0 { " class=\"first\"" } else { "" },
            if at == 0 { escape(&growth_title(series)) } else { String::new() },
            escape(&series.who),
            exponent_text(series),
            points_text(series)
        )
    };
    let groups = suite.growth_groups();
    let rows: String = groups.iter().flat_map(|group| (0..group.len()).map(|at| row(group, at))).collect();
    if rows.is_empty() {
        return rows;
    }
    let heads = "<th>work</th><th>program</th><th class=\"n\">exponent</th><th>sizes: medians</th>";
    section("Fitted exponents (0: the cost stays; 1: it grows with the size)", &table(heads, &rows))
}

fn table(heads: &str, rows: &str) -> String {
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}
