//! Finds the entries of a password store, in the order of their names. No link leads out of it.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType};
use std::path::{Path, PathBuf};

use super::ReadPassError;
use super::{LeftOut, LeftOutReason, short};
use crate::error::shown;

/// Maximum number of files and folders looked at.
pub(super) const MAX_FILES: usize = 50_000;
/// Maximum number of folders within folders.
const MAX_DEPTH: usize = 32;
/// Maximum size of an encrypted entry, in bytes: a value of the largest size, as armoured text.
const MAX_CIPHERTEXT: u64 = 8 << 20;

/// A file that holds an entry.
#[derive(Debug)]
pub(super) struct Found {
    /// Number of the file among all that were looked at.
    pub(super) number: u64,
    /// Folders between the store and the file, divided by slashes.
    pub(super) group: String,
    pub(super) title: String,
    pub(super) path: PathBuf,
    /// Set if `age` decrypts it, and not `gpg`.
    pub(super) is_age: bool,
}

/// The entries of a store, and what is left out.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) found: Vec<Found>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Returns whether a folder has an entry in it, not only further down.
pub(super) fn has_entries(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_FILES);
    names.into_iter().any(|entry| title(&entry.file_name()).is_some())
}

/// Looks through a store.
///
/// # Errors
/// [`ReadPassError`] when the store or one of its folders can't be listed, or has too many files.
pub(super) fn walk(store: &Path) -> Result<Walk, ReadPassError> {
    // The store itself may be a link, such as into a folder that is synchronised.
    let store = store.canonicalize().map_err(ReadPassError::Folder)?;
    let mut walker = Walker { store: &store, looked_at: 0, walk: Walk::default() };
    walker.folder(&store, "", 0)?;
    Ok(walker.walk)
}

struct Walker<'a> {
    store: &'a Path,
    looked_at: usize,
    walk: Walk,
}

impl Walker<'_> {
    fn folder(&mut self, folder: &Path, group: &str, depth: usize) -> Result<(), ReadPassError> {
        let mut inside = Vec::new();
        for entry in fs::read_dir(folder).map_err(ReadPassError::Folder)? {
            inside.push(entry.map_err(ReadPassError::Folder)?);
            if self.looked_at + inside.len() > MAX_FILES {
                return Err(ReadPassError::TooMany);
            }
        }
        inside.sort_by_key(DirEntry::file_name);
        for entry in inside {
            self.looked_at += 1;
            let kind = entry.file_type().map_err(ReadPassError::Folder)?;
            self.entry(&entry, kind, group, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &DirEntry,
        kind: FileType,
        group: &str,
        depth: usize,
    ) -> Result<(), ReadPassError> {
        let (path, file_name) = (entry.path(), entry.file_name());
        if is_of_the_store(&file_name) {
            return Ok(());
        }
        let Some(name) = file_name.to_str() else {
            self.leave_out(&path, "its name is not UTF-8");
            return Ok(());
        };
        let path = match kind.is_symlink() {
            false => path,
            true => match self.target(&path) {
                Ok(target) => target,
                Err(why) => {
                    self.leave_out(&path, why);
                    return Ok(());
                }
            },
        };
        if kind.is_dir() {
            if depth == MAX_DEPTH {
                self.leave_out(&path, "it is more than 32 folders down");
                return Ok(());
            }
            let below = if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") };
            return self.folder(&path, &below, depth + 1);
        }
        let why = match (title(&file_name), fs::metadata(&path)) {
            (None, _) => "it is no entry: its name does not end with .gpg or .age",
            (_, Err(_)) => "it can't be read",
            (_, Ok(is)) if !is.is_file() => "it is neither a file nor a folder",
            (_, Ok(is)) if is.len() > MAX_CIPHERTEXT => "it is larger than 8 MiB",
            (Some((title, is_age)), Ok(_)) => {
                let (number, group) = (self.looked_at as u64, group.to_owned());
                self.walk.found.push(Found { number, group, title, path, is_age });
                return Ok(());
            }
        };
        self.leave_out(&entry.path(), why);
        Ok(())
    }

    /// Returns the file that a link leads to, within the store.
    fn target(&self, link: &Path) -> Result<PathBuf, &'static str> {
        let target = link.canonicalize().map_err(|_| "it is a link to nothing")?;
        match target.starts_with(self.store) {
            false => Err("it is a link out of the store"),
            true if target.is_dir() => {
                Err("it is a link to a folder, whose entries are taken where they are")
            }
            true => Ok(target),
        }
    }

    fn leave_out(&mut self, path: &Path, why: &'static str) {
        let name = short(&shown(path.strip_prefix(self.store).unwrap_or(path)));
        let (line, why) = (self.looked_at as u64, LeftOutReason::Unknown(why));
        self.walk.left_out.push(LeftOut { line, name, why });
    }
}

/// Returns the title of the entry that a file of this name holds, and whether it is one of `age`.
fn title(file_name: &OsStr) -> Option<(String, bool)> {
    let name = file_name.to_str()?;
    let (title, end) = name.rsplit_once('.')?;
    let is_age = match end {
        "gpg" => false,
        "age" => true,
        _ => return None,
    };
    (!title.is_empty()).then(|| (title.to_owned(), is_age))
}

/// Returns whether a file or folder belongs to the store's keeping: its recipients, its signatures,
/// and what git has of it.
fn is_of_the_store(file_name: &OsStr) -> bool {
    const NAMES: [&str; 11] = [
        ".git",
        ".gitattributes",
        ".gitignore",
        ".gpg-id",
        ".gpg-id.sig",
        ".gpg-keys",
        ".public-keys",
        ".age-recipients",
        ".age-recipients.sig",
        ".extensions",
        ".gopass.yml",
    ];
    file_name.to_str().is_some_and(|name| NAMES.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn store(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join("store").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn found(walk: &Walk) -> Vec<(&str, &str, bool)> {
        walk.found.iter().map(|found| (&*found.group, &*found.title, found.is_age)).collect()
    }

    fn left_out(walk: &Walk) -> Vec<String> {
        walk.left_out.iter().map(|row| format!("{}: {}", row.name, row.why)).collect()
    }

    #[test]
    fn entries_are_named_by_folder_and_file() {
        let files = ["mail.example.com.gpg", "Web/Shops/shop.gpg", "Web/one.age", ".hidden.gpg", ".gpg-id"];
        let folder = store(&[&files[..], &[".git/x.gpg", "Web/.gpg-id", "Web/read.me", ".gpg"]].concat());
        let walk = walk(&folder.path().join("store")).unwrap();
        let expected = [
            ("", ".hidden", false),
            ("Web/Shops", "shop", false),
            ("Web", "one", true),
            ("", "mail.example.com", false),
        ];
        assert_eq!(found(&walk), expected);
        let why = "it is no entry: its name does not end with .gpg or .age";
        assert_eq!(left_out(&walk), [format!(".gpg: {why}"), format!("Web/read.me: {why}")]);
    }

    #[test]
    fn links_are_followed_within_the_store_only() {
        let folder = store(&["a/one.gpg", "../outside.gpg"]);
        let at = |name: &str| folder.path().join("store").join(name);
        symlink(at("a/one.gpg"), at("again.gpg")).unwrap();
        symlink("../outside.gpg", at("out.gpg")).unwrap();
        symlink(folder.path(), at("outside")).unwrap();
        symlink("none", at("none.gpg")).unwrap();
        symlink(".", at("a/loop")).unwrap();
        symlink("b", at("b")).unwrap();
        symlink(at(""), folder.path().join("link")).unwrap();
        for store in ["store", "link"] {
            let walk = walk(&folder.path().join(store)).unwrap();
            assert_eq!(found(&walk), [("a", "one", false), ("", "again", false)]);
            let expected = [
                "a/loop: it is a link to a folder, whose entries are taken where they are",
                "b: it is a link to nothing",
                "none.gpg: it is a link to nothing",
                "out.gpg: it is a link out of the store",
                "outside: it is a link out of the store",
            ];
            assert_eq!(left_out(&walk), expected);
        }
    }

    #[test]
    fn what_is_too_deep_too_large_or_no_file_is_left_out() {
        let deep = |folders: usize| format!("{}x.gpg", "d/".repeat(folders));
        let folder = store(&[&deep(MAX_DEPTH), &deep(MAX_DEPTH + 1), "large.gpg"]);
        let at = |name: &str| folder.path().join("store").join(name);
        fs::File::options().write(true).open(at("large.gpg")).unwrap().set_len(MAX_CIPHERTEXT + 1).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket.gpg")).unwrap();
        fs::write(at("").join(OsStr::from_bytes(b"\xff\x1b.gpg")), "x").unwrap();
        let walk = walk(&at("")).unwrap();
        assert_eq!(found(&walk), [(deep(MAX_DEPTH).trim_end_matches("/x.gpg"), "x", false)]);
        let said = left_out(&walk);
        assert!(said[0].ends_with("…: it is more than 32 folders down"), "{}", said[0]);
        let expected = [
            "large.gpg: it is larger than 8 MiB",
            "socket.gpg: it is neither a file nor a folder",
            "\\xff\\u{1b}.gpg: its name is not UTF-8",
        ];
        assert_eq!(said[1..], expected);
    }
}
