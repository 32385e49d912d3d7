//! Circles among the files of a crate: files that name each other, directly or through others.
//!
//! A file names another where a path that begins with `crate`, `self` or `super` leads there, also
//! through the re-exports of a module on the way. What `lib.rs` and `main.rs` name makes no circle,
//! and neither do declarations `mod name;`.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, ItemMod, ItemUse, Path, UseTree, VisRestricted, visit::Visit};

use super::{Source, is_test};

/// The circles of one crate, largest first; each the names of its files, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circles(Vec<Vec<String>>);

impl Circles {
    /// Finds the circles among a crate's files.
    pub(crate) fn of(sources: &[Source]) -> Self {
        let files: BTreeMap<&[String], usize> =
            sources.iter().enumerate().map(|(number, source)| (&*source.module, number)).collect();
        let exports: Vec<BTreeMap<String, Vec<String>>> = sources.iter().map(exports).collect();
        let graph = Graph { files, exports };
        let arrows: Vec<BTreeSet<usize>> = sources.iter().map(|source| graph.arrows(source)).collect();
        let mut circles: Vec<Vec<String>> = components(&arrows)
            .into_iter()
            .map(|circle| circle.into_iter().map(|number| sources[number].name.clone()).collect())
            .collect();
        circles.sort_by_key(|circle: &Vec<String>| std::cmp::Reverse(circle.len()));
        Self(circles)
    }

    /// Returns the number of files of each circle.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.0.iter().map(Vec::len).collect()
    }

    /// Returns the files of each circle.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &Vec<String>> {
        self.0.iter()
    }
}

struct Graph<'a> {
    files: BTreeMap<&'a [String], usize>,
    exports: Vec<BTreeMap<String, Vec<String>>>,
}

impl Graph<'_> {
    /// Returns the files that a source names.
    fn arrows(&self, source: &Source) -> BTreeSet<usize> {
        if source.module.is_empty() {
            return BTreeSet::new();
        }
        let own = self.files[&*source.module];
        let paths = paths(source);
        let named = paths.iter().filter_map(|path| self.file_of(path, 0));
        named.filter(|file| *file != own).collect()
    }

    /// Returns the file that an absolute path leads to, following re-exports; `None` for what the
    /// crate's root holds itself.
    fn file_of(&self, path: &[String], depth: usize) -> Option<usize> {
        let held = (0..=path.len()).rev().find(|len| self.files.contains_key(&path[..*len]))?;
        let file = self.files[&path[..held]];
        let Some(name) = path.get(held) else {
            return (held > 0).then_some(file);
        };
        match self.exports[file].get(name) {
            Some(target) if depth < 8 => {
                self.file_of(&[target, &path[held + 1..]].concat(), depth + 1).or((held > 0).then_some(file))
            }
            _ => (held > 0).then_some(file),
        }
    }
}

/// Returns the names that a file imports or re-exports, each with its absolute path.
fn exports(source: &Source) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for item in &source.parsed.items {
        if let Item::Use(item) = item {
            for path in leaves(&item.tree) {
                let relative = match path.first().map(String::as_str) {
                    Some("crate" | "self" | "super") => path.clone(),
                    _ => [vec!["self".to_owned()], path.clone()].concat(),
                };
                if let (Some(name), Some(target)) = (path.last(), absolute(&source.module, &relative)) {
                    found.insert(name.clone(), target);
                }
            }
        }
    }
    found
}

/// Returns the absolute paths that may lead from a file to another: those of `use`, and those
/// within the code.
fn paths(source: &Source) -> Vec<Vec<String>> {
    struct Paths {
        module: Vec<String>,
        found: Vec<Vec<String>>,
    }

    impl Paths {
        fn add(&mut self, path: &[String]) {
            self.found.extend(absolute(&self.module, path));
        }
    }

    impl<'ast> Visit<'ast> for Paths {
        fn visit_item_use(&mut self, item: &'ast ItemUse) {
            if !is_test(&item.attrs) {
                leaves(&item.tree).iter().for_each(|path| self.add(path));
            }
        }

        fn visit_path(&mut self, path: &'ast Path) {
            self.add(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
            syn::visit::visit_path(self, path);
        }

        /// Skips `pub(super)` and the like: visibility names nothing.
        fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

        fn visit_item_mod(&mut self, item: &'ast ItemMod) {
            if !is_test(&item.attrs) {
                self.module.push(item.ident.to_string());
                syn::visit::visit_item_mod(self, item);
                self.module.pop();
            }
        }
    }

    let mut paths = Paths { module: source.module.clone(), found: Vec::new() };
    paths.visit_file(&source.parsed);
    paths.found
}

fn leaves(tree: &UseTree) -> Vec<Vec<String>> {
    let below = |name: String, tree: &UseTree| {
        leaves(tree).into_iter().map(|leaf| [vec![name.clone()], leaf].concat()).collect()
    };
    match tree {
        UseTree::Path(path) => below(path.ident.to_string(), &path.tree),
        UseTree::Name(name) if name.ident == "self" => vec![Vec::new()],
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(renamed) => vec![vec![renamed.ident.to_string()]],
        UseTree::Glob(_) => vec![Vec::new()],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// Returns a path from the crate's root; `None` for one that begins with another crate or a local
/// name.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
        }
        _ => return None,
    }
    rest = &rest[1..];
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// Returns the sets of at least two nodes that all reach each other.
fn components(arrows: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..arrows.len())
        .map(|from| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<usize> = arrows[from].iter().copied().collect();
            while let Some(node) = next.pop() {
                if seen.insert(node) {
                    next.extend(&arrows[node]);
                }
            }
            seen
        })
        .collect();
    let circle_of = |node: usize| -> BTreeSet<usize> {
        reached[node].iter().copied().filter(|other| reached[*other].contains(&node)).collect()
    };
    let circles: BTreeSet<BTreeSet<usize>> = (0..arrows.len()).map(circle_of).collect();
    circles.into_iter().filter(|circle| circle.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        let module = if name == "lib" { Vec::new() } else { name.split('/').map(str::to_owned).collect() };
        Source { name: name.into(), module, text: text.into(), parsed: syn::parse_file(text).unwrap() }
    }

    #[test]
    fn circles_are_found_through_re_exports_and_not_through_tests() {
        let sources = [
            source("lib", "mod a; mod b; mod c; pub use b::B; use crate::c::C;"),
            source("a", "use crate::B; pub struct A(B);"),
            source("b", "pub struct B; fn f() { crate::a::g(); }"),
            source("c", "#[cfg(test)] mod tests { use crate::d::D; } pub struct C;"),
            source("d", "use crate::{c::C, a}; mod inner { use super::super::e::E; use super::f; }"),
            source("e", "pub(super) struct E; mod inner { use super::E; }"),
        ];
        assert_eq!(Circles::of(&sources), Circles(vec![vec!["a".into(), "b".into()]]));
    }
}
