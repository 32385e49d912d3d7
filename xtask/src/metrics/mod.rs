//! `metrics`: sizes, words and circles of the sources, as `tidy` checks them.
//!
//! Tests, examples, benches and fuzz targets are left out, and so are items behind `#[cfg(test)]`.

mod circles;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Block, ImplItemFn, ItemFn, ItemMod, Signature, TraitItemFn, spanned::Spanned, visit::Visit,
};

pub(crate) use self::{circles::Circles, words::Words};
use crate::{Result, cargo::root, tidy::CRATES};

/// Maximum lines of a source file, without its tests.
pub(crate) const MAX_FILE: usize = 500;
/// Maximum lines of a function.
pub(crate) const MAX_FUNCTION: usize = 60;
/// Maximum columns of a comment line.
pub(crate) const MAX_COLUMNS: usize = 100;

/// One parsed source file of a crate, without its tests.
pub(crate) struct Source {
    /// Path below the top of the repository.
    pub(crate) name: String,
    /// Module path within the crate: empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    pub(crate) text: String,
    pub(crate) parsed: syn::File,
}

/// Name, first line and number of lines of a function.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Prints one row for each crate: files, functions, words and circles.
pub(crate) fn run() -> Result<()> {
    println!(
        "{:<20} {:>5} {:>6} {:>20} {:>5} {:>22} {:>6} {:>7} {:>8} {:>8}",
        "crate",
        "files",
        "lines",
        "file med/p90/max",
        "fns",
        "fn med/p90/p99/max",
        "what %",
        "returns",
        "unwraps",
        "circles"
    );
    for crate_ in CRATES {
        let sources = sources(crate_)?;
        let mut lines: Vec<usize> = sources.iter().map(Source::lines).collect();
        let mut functions: Vec<usize> = sources.iter().flat_map(functions).map(|found| found.lines).collect();
        lines.sort_unstable();
        functions.sort_unstable();
        let words = Words::of(sources.iter().map(|source| source.code()));
        let unwraps: usize = sources
            .iter()
            .map(|source| {
                source.code().matches(".unwrap()").count() + source.code().matches(".expect(").count()
            })
            .sum();
        let circles = Circles::of(&sources);
        println!(
            "{:<20} {:>5} {:>6} {:>20} {:>5} {:>22} {:>6.1} {:>7.1} {:>8} {:>8}",
            crate_,
            lines.len(),
            lines.iter().sum::<usize>(),
            format!("{} / {} / {}", at(&lines, 50), at(&lines, 90), at(&lines, 100)),
            functions.len(),
            format!(
                "{} / {} / {} / {}",
                at(&functions, 50),
                at(&functions, 90),
                at(&functions, 99),
                at(&functions, 100)
            ),
            words.percent_of_questions(),
            words.returns_per_thousand(),
            unwraps,
            format!("{:?}", circles.sizes()),
        );
        circles.lists().for_each(|files| println!("  circle: {}", files.join(", ")));
    }
    Ok(())
}

/// Returns the value at a percentile of a sorted list.
fn at(sorted: &[usize], percent: usize) -> usize {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}

/// Reads and parses a crate's sources, in the order of their paths.
///
/// # Errors
/// A file that can't be read or parsed.
pub(crate) fn sources(crate_: &str) -> Result<Vec<Source>> {
    let folder = root().join(crate_).join("src");
    let mut paths = Vec::new();
    rust_files(&folder, &mut paths)?;
    paths.sort();
    paths.iter().map(|path| Source::read(&folder, path)).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "vectors");
        if path.is_dir() && !is_test {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            found.push(path);
        }
    }
    Ok(())
}

impl Source {
    fn read(folder: &Path, path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let parsed = syn::parse_file(&text)?;
        let mut module: Vec<String> = path
            .with_extension("")
            .strip_prefix(folder)?
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
            module.pop();
        }
        let name = path.strip_prefix(root())?.display().to_string();
        Ok(Self { name, module, text, parsed })
    }

    /// Returns the text before the file's own tests.
    pub(crate) fn code(&self) -> &str {
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        &self.text[..tests]
    }

    /// Returns the number of lines before the file's own tests.
    pub(crate) fn lines(&self) -> usize {
        self.code().lines().count()
    }
}

/// Returns a file's functions with a body, without those of its tests.
pub(crate) fn functions(source: &Source) -> Vec<Function> {
    struct Functions(Vec<Function>);

    impl Functions {
        fn add(&mut self, signature: &Signature, body: &Block) {
            let (first, last) = (signature.span().start().line, body.span().end().line);
            self.0.push(Function { name: signature.ident.to_string(), line: first, lines: last - first + 1 });
        }
    }

    impl<'ast> Visit<'ast> for Functions {
        fn visit_item_fn(&mut self, item: &'ast ItemFn) {
            self.add(&item.sig, &item.block);
            syn::visit::visit_item_fn(self, item);
        }

        fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
            self.add(&item.sig, &item.block);
            syn::visit::visit_impl_item_fn(self, item);
        }

        fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
            if let Some(body) = &item.default {
                self.add(&item.sig, body);
            }
            syn::visit::visit_trait_item_fn(self, item);
        }

        fn visit_item_mod(&mut self, item: &'ast ItemMod) {
            if !is_test(&item.attrs) {
                syn::visit::visit_item_mod(self, item);
            }
        }
    }

    let mut found = Functions(Vec::new());
    found.visit_file(&source.parsed);
    found.0
}

/// Returns whether the attributes have `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}
