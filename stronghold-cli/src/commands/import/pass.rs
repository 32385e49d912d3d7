//! Reads password stores of `pass`, gopass and passage: a folder in which each entry is a file that
//! the user's own `gpg` or `age` decrypts.

mod decrypt;
mod entry;
mod walk;

use std::path::Path;

use self::decrypt::{Decrypted, Program};
use self::walk::{Found, Walk};
use super::table::{Credential, LeftOut, LeftOutReason, Table, place, short};

/// Maximum size of all decrypted entries together, in bytes.
const MAX_PLAINTEXT: usize = 128 << 20;

/// Reason why a store was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadPassError {
    #[error("the folder can't be read: {0}")]
    Folder(std::io::Error),
    #[error("the folder has no entries of a password store")]
    NoStore,
    #[error("the store has more than {} files and folders", walk::MAX_FILES)]
    TooMany,
    #[error("the store's entries are larger than {} bytes together", MAX_PLAINTEXT)]
    TooLarge,
    #[error("the store has entries of age, and no identity was given")]
    NoIdentity,
    #[error("can't run {program}: {error}")]
    NoProgram { program: &'static str, error: std::io::Error },
    #[error("gpg was told not to decrypt")]
    Cancelled,
}

impl ReadPassError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Folder(_) => "name the folder of the store, such as ~/.password-store",
            Self::NoStore => {
                "name the folder of the store, such as ~/.password-store: its entries end with .gpg or .age"
            }
            Self::TooMany | Self::TooLarge => "is it the right folder? Import its folders one by one",
            Self::NoIdentity => "name the file with it: --source-identity FILE",
            Self::NoProgram { .. } => "install it: entries are decrypted by the program that encrypted them",
            Self::Cancelled => "gpg asks for the passphrase of its key; run the import again",
        }
    }
}

/// Returns whether a folder looks like a password store.
pub(crate) fn is_store(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has(".gpg-id") || has(".age-recipients") || walk::has_entries(folder)
}

/// Reads a store. `on_decrypted` is called once, when the first entry is decrypted: the programs
/// have asked for what they need by then.
///
/// # Errors
/// [`ReadPassError`] when it can't be read at all. Single entries that can't be are left out.
pub(crate) fn read(
    folder: &Path,
    client: &str,
    identity: Option<&Path>,
    mut on_decrypted: impl FnMut(),
) -> Result<Table, ReadPassError> {
    let Walk { found, left_out } = walk::walk(folder)?;
    if found.is_empty() && left_out.is_empty() {
        return Err(ReadPassError::NoStore);
    }
    let mut table = Table::default();
    let (mut left_in_total, mut is_first) = (MAX_PLAINTEXT, true);
    for Found { number, group, title, path, is_age } in found {
        let place = place(&group, &title);
        let program = match (is_age, identity) {
            (false, _) => Program::Gpg,
            (true, Some(identity)) => Program::Age(identity),
            (true, None) => return Err(ReadPassError::NoIdentity),
        };
        let why = match decrypt::decrypt(program, &path)? {
            Decrypted::Text(text) => {
                left_in_total = left_in_total.checked_sub(text.len()).ok_or(ReadPassError::TooLarge)?;
                if std::mem::take(&mut is_first) {
                    on_decrypted();
                }
                let fields = entry::fields(&text);
                table.add(client, Credential { line: number, place, fields, ..Credential::default() });
                continue;
            }
            Decrypted::No(why) => why,
        };
        table.rows.push(LeftOut { line: number, name: short(&place), why });
    }
    table.rows.extend(left_out);
    table.rows.sort_by_key(|row| row.line);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_store_by_its_recipients_or_its_entries() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_store(folder.path()) && !is_store(&folder.path().join("none")));
        for (number, name) in [".gpg-id", ".age-recipients", "a.gpg", "b.age"].into_iter().enumerate() {
            let store = folder.path().join(number.to_string());
            std::fs::create_dir(&store).unwrap();
            assert!(!is_store(&store), "{name}");
            std::fs::write(store.join(name), "x").unwrap();
            assert!(is_store(&store), "{name}");
        }
        assert!(!is_store(&folder.path().join("0/.gpg-id")));
    }

    #[test]
    fn a_folder_without_entries_is_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &Path| super::read(path, "c", None, || {});
        assert!(matches!(read(folder.path()), Err(ReadPassError::NoStore)));
        assert!(matches!(read(&folder.path().join("none")), Err(ReadPassError::Folder(_))));
        std::fs::write(folder.path().join("a.age"), "x").unwrap();
        assert!(matches!(read(folder.path()), Err(ReadPassError::NoIdentity)));
    }
}
