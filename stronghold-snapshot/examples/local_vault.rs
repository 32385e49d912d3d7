//! Keeps secrets in one file: writes, reads, changes several records at once, deletes.
//!
//! `cargo run -p stronghold-snapshot --example local_vault`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use stronghold_snapshot::{Labels, Location, Selection, Unlock, UpdateError, VaultFile, now};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let key = Unlock::Passphrase(b"a passphrase that a person chose");
    let mut vault = VaultFile::open_or_create(folder.path().join("app.stronghold"), &key)?;

    let mail: Location = "wallet/web/mail".parse()?;
    vault.write(&mail, b"hunter2")?; // when this returns, the value survives a loss of power
    if let Some(value) = vault.read(&mail)? {
        println!("{mail}: {} bytes", value.len());
    }

    // Several changes at once: all of them are written, or none.
    vault.update(|stronghold| {
        for name in ["shop", "bank"] {
            stronghold.write(&Location::new("wallet", "web", name)?, b"another", Labels::new(), now())?;
        }
        Ok(())
    })?;
    let refused = vault.update(|stronghold| {
        stronghold.remove(&mail, now())?;
        Err::<(), _>(UpdateError::other("on second thoughts"))
    });
    assert!(refused.is_err() && vault.contains(&mail));

    vault.remove(&mail)?;
    for record in vault.list(&Selection::everything()) {
        let record = record?;
        println!("{}: {} bytes", record.location, record.size);
    }
    Ok(())
}
