//! Seals a secret to a passphrase and a recipient, then keeps it in a file that is changed under a
//! lock.
//!
//! `cargo run -p stronghold-snapshot --example seal_and_open`

use std::error::Error;
use std::time::Duration;

use stronghold_snapshot::{
    NewSlot, PassphraseCost, RecipientSecretKey, Reloaded, SnapshotFile, Unlock, open, seal,
};

fn main() -> Result<(), Box<dyn Error>> {
    // As bytes: either key opens.
    let laptop = RecipientSecretKey::generate()?;
    let passphrase = b"a passphrase that a person chose".as_slice();
    let slots = [
        NewSlot::Passphrase { passphrase, cost: PassphraseCost::default() },
        NewSlot::Recipient(&laptop.public()),
    ];
    let sealed = seal(&slots, b"the secret")?;
    assert_eq!(&*open(&sealed, &Unlock::Passphrase(passphrase))?.payload, b"the secret");
    assert_eq!(&*open(&sealed, &Unlock::Recipient(&laptop))?.payload, b"the secret");

    // As a file: read, changed and written while no other process writes.
    let path = std::env::temp_dir().join(format!("seal-and-open-{}", std::process::id()));
    SnapshotFile::create(&path, &slots, b"one")?;
    let (mut file, payload) = SnapshotFile::open(&path, &Unlock::Passphrase(passphrase))?;
    let mut content = payload.to_vec();
    let mut locked = file.lock(Duration::from_secs(10))?;
    if let Some(Reloaded::Whole(newer)) = locked.reload_if_newer()? {
        content = newer.to_vec();
    }
    content.extend(b", two");
    locked.commit(&content)?; // when this returns, the change survives a loss of power
    assert_eq!(&*SnapshotFile::open(&path, &Unlock::Recipient(&laptop))?.1, b"one, two");
    Ok(())
}
