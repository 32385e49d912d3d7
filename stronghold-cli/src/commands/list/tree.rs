//! Draws names as a tree.

use std::collections::BTreeMap;

use stronghold_sync::escape_untrusted;

/// A part of names, with the parts that follow it.
#[derive(Default)]
struct Node {
    parts: BTreeMap<String, Self>,
    /// Set if a record has this name; `true` if it is in conflict.
    record: Option<bool>,
}

/// Returns the lines of a tree of records, each given with its name and whether it is in conflict.
pub(super) fn lines(records: impl Iterator<Item = (String, bool)>) -> Vec<String> {
    let mut root = Node::default();
    for (name, conflict) in records {
        let node = name.split('/').fold(&mut root, |node, part| node.parts.entry(part.into()).or_default());
        node.record = Some(conflict);
    }
    let mut lines = Vec::new();
    for (name, client) in &root.parts {
        lines.push(label(name, client));
        client.draw("", &mut lines);
    }
    lines
}

impl Node {
    fn draw(&self, indent: &str, lines: &mut Vec<String>) {
        for (index, (name, node)) in self.parts.iter().enumerate() {
            let is_last = index + 1 == self.parts.len();
            let (branch, next) = if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
            lines.push(format!("{indent}{branch}{}", label(name, node)));
            node.draw(&format!("{indent}{next}"), lines);
        }
    }
}

fn label(name: &str, node: &Node) -> String {
    let mark = if node.record == Some(true) { "  (conflict)" } else { "" };
    format!("{}{mark}", escape_untrusted(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_part_in_common_are_drawn_once() {
        let names = [("a/v/one", false), ("a/v/one/user", true), ("a/v/two", false), ("b/v/x", false)];
        let drawn = lines(names.map(|(name, conflict)| (name.to_owned(), conflict)).into_iter());
        let expected = [
            "a",
            "└── v",
            "    ├── one",
            "    │   └── user  (conflict)",
            "    └── two",
            "b",
            "└── v",
            "    └── x",
        ];
        assert_eq!(drawn, expected);
        assert_eq!(lines(std::iter::empty()), [""; 0]);
    }
}
