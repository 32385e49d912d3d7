//! The names of a snapshot and of the files beside it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use stronghold_sync::hex;
use stronghold_vault::{RandomnessError, random};

use crate::error::{Action, IoContext, StorageError};
use crate::file::storage::Storage;
use crate::format::crypto;

/// A snapshot's real path and the paths of its companion files, all in one folder.
pub(crate) struct Paths {
    pub(crate) folder: PathBuf,
    pub(crate) file: PathBuf,
    /// The lock file. Its content is the writer's process id.
    pub(crate) lock: PathBuf,
    /// Prefix of every temporary file's name, `.NAME.`.
    temporary_prefix: OsString,
}

const TEMPORARY_SUFFIX: &str = ".tmp";
const TEMPORARY_LABEL: &[u8] = b"stronghold/snapshot/v1/temporary";
/// Number of hexadecimal digits in a temporary name's check.
const CHECK_LEN: usize = 8;

impl Paths {
    pub(crate) fn resolve(storage: &impl Storage, path: &Path) -> Result<Self, StorageError> {
        let file = storage.resolve(path).context(Action::Find, path)?;
        let name = file.file_name().unwrap_or_default();
        let folder = file.parent().unwrap_or(&file).to_owned();
        let beside = |parts: [&OsStr; 3]| parts.into_iter().collect::<OsString>();
        let temporary_prefix = beside([".".as_ref(), name, ".".as_ref()]);
        Ok(Self {
            lock: folder.join(beside([".".as_ref(), name, ".lock".as_ref()])),
            temporary_prefix,
            folder,
            file,
        })
    }

    /// Returns a unique temporary name. The process id in it is for people.
    pub(crate) fn temporary(&self) -> Result<PathBuf, RandomnessError> {
        let random = u64::from_be_bytes(random()?);
        let begin = format!("{}-{random:016x}", std::process::id());
        let mut name = self.temporary_prefix.clone();
        name.push(&begin);
        name.push(self.check_of(begin.as_bytes()));
        name.push(TEMPORARY_SUFFIX);
        Ok(self.folder.join(name))
    }

    /// Checks whether [`temporary`](Self::temporary) made `name`: prefix, digits, `-`, 16
    /// hexadecimal digits, and a check derived from them. A foreign name does not carry the right
    /// check. The content proves nothing: after a power loss it may be anything.
    pub(crate) fn is_temporary(&self, name: &OsStr) -> bool {
        let middle = name
            .as_encoded_bytes()
            .strip_prefix(self.temporary_prefix.as_encoded_bytes())
            .and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX.as_bytes()));
        let Some((begin, check)) = middle.and_then(|middle| middle.split_last_chunk::<CHECK_LEN>()) else {
            return false;
        };
        let Some((process, random)) = begin.split_last_chunk::<17>() else { return false };
        !process.is_empty()
            && process.iter().all(u8::is_ascii_digit)
            && random[0] == b'-'
            && random[1..].iter().all(u8::is_ascii_hexdigit)
            && *check == *self.check_of(begin).as_bytes()
    }

    /// Returns the check for a temporary name that starts with `begin`.
    fn check_of(&self, begin: &[u8]) -> String {
        let hash = crypto::hash(&[TEMPORARY_LABEL, self.temporary_prefix.as_encoded_bytes(), begin]);
        hex::text(&hash[..CHECK_LEN / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::storage::Disk;

    #[test]
    fn a_name_with_a_right_check_is_none_where_what_is_checked_is_no_such_name() {
        let paths = Paths::resolve(&Disk, Path::new("vault")).unwrap();
        let is_one = |begin: &str| {
            let name = format!(".vault.{begin}{}.tmp", paths.check_of(begin.as_bytes()));
            paths.is_temporary(OsStr::new(&name))
        };
        for (begin, expected) in [
            ("4711-0123456789abcdef", true),
            ("1-ABCDEF0123456789", true),
            ("-0123456789abcdef", false),
            ("x-0123456789abcdef", false),
            ("47x1-0123456789abcdef", false),
            ("4711_0123456789abcdef", false),
            ("4711-0123456789abcdeg", false),
            ("4711-g123456789abcdef", false),
            ("0123456789abcdef", false),
            ("", false),
        ] {
            assert_eq!(is_one(begin), expected, "{begin}");
        }
    }

    #[test]
    fn what_stands_beside_a_snapshot_has_its_name() {
        let temporary_folder = tempfile::tempdir().unwrap();
        let folder = temporary_folder.path().canonicalize().unwrap();
        let paths = Paths::resolve(&Disk, &folder.join("a vault")).unwrap();
        assert_eq!((&paths.folder, &paths.file), (&folder, &folder.join("a vault")));
        assert_eq!(paths.lock, folder.join(".a vault.lock"));
        let temporary = paths.temporary().unwrap();
        let begin = format!(".a vault.{}-", std::process::id());
        assert!(temporary.parent() == Some(&folder));
        assert!(temporary.file_name().unwrap().to_str().unwrap().starts_with(&begin));
        assert_ne!(paths.temporary().unwrap(), temporary);
    }

    #[test]
    fn temporary_names_are_known_again_and_no_others() {
        let paths = Paths::resolve(&Disk, Path::new("vault")).unwrap();
        let temporary = paths.temporary().unwrap();
        assert!(paths.is_temporary(temporary.file_name().unwrap()));
        let text = temporary.file_name().unwrap().to_str().unwrap().to_owned();
        let other_check = text.replace(".tmp", "x.tmp").replacen('-', "-0", 1);
        assert!(!paths.is_temporary(OsStr::new(&other_check)) && !paths.is_temporary(OsStr::new(&text[1..])));
        let elsewhere = Paths::resolve(&Disk, Path::new("other")).unwrap();
        let renamed = text.replace("vault", "other");
        assert!(!elsewhere.is_temporary(OsStr::new(&renamed)), "the check is of this name alone");
        for other in [
            ".vault.1-0123456789abcdef01234567.tmp",
            "vault",
            "vault.1",
            ".vault.lock",
            ".vault.tmp",
            ".vault.1-2.tmp",
            ".vault.-0123456789abcdef.tmp",
            ".other.1-0123456789abcdef.tmp",
            ".vault.x-0123456789abcdef.tmp",
            ".vault.1-0123456789abcdef.tmp~",
        ] {
            assert!(!paths.is_temporary(OsStr::new(other)), "{other}");
        }
    }
}
