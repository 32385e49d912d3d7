//! Two devices that are never on at the same time synchronise through a folder: a synchronised
//! folder, a share, a USB stick. The folder shows a third party only that two devices use it.
//!
//! `cargo run -p stronghold-net --example folder`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, path::Path};
use stronghold_sync::Timestamp;

use stronghold_net::{
    DeviceId, Labels, NoHandler, Operation, Rule, Selection, SharedVault, Stronghold, VaultFile,
    VaultFileError,
    mailbox::{Exchange, Folder, open_store},
    snapshot::NewSlot,
    vault::{Peer, Rendezvous},
};

type Fallible<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let (laptop, phone) = (create(folder.path(), "laptop")?, create(folder.path(), "phone")?);
    let stick = folder.path().join("stick");
    std::fs::create_dir(&stick)?;
    // As `Pairing` does; the secret of the pairing is what both derive the mailbox from.
    let secret = Rendezvous::from_bytes(stronghold_net::vault::random()?);
    let on_the_phone = add(&laptop, &phone, &secret, &stick)?;
    let on_the_laptop = add(&phone, &laptop, &secret, &stick)?;

    let mail = "wallet/web/mail".parse()?;
    laptop.update(|here| {
        Ok::<_, Box<dyn Error>>(here.write(&mail, b"hunter2", Labels::new(), Timestamp::from_millis(1))?)
    })?;
    exchange(&phone, on_the_laptop).await?; // leaves a card with its key
    exchange(&laptop, on_the_phone).await?; // leaves a letter, sealed to that key
    exchange(&phone, on_the_laptop).await?; // takes it, and says so in its next card
    assert_eq!(&**phone.lock().stronghold().read(&mail)?.revision.value, b"hunter2");
    exchange(&laptop, on_the_phone).await?; // deletes it

    laptop.update(|here| Ok::<_, VaultFileError>(here.revoke(&on_the_phone, Timestamp::from_millis(2))))?;
    assert!(Exchange::new(&laptop, &Folder::new(&stick, ""), on_the_phone).await.is_err());
    Ok(())
}

fn create(folder: &Path, name: &str) -> Fallible<SharedVault> {
    let slot = [NewSlot::Key(&[7; 32])];
    Ok(SharedVault::new(VaultFile::create(&folder.join(name), &slot, Stronghold::new(name)?)?))
}

/// Pairs `here` with a device, lets that do all it needs, and says where their mailbox is.
fn add(here: &SharedVault, there: &SharedVault, secret: &Rendezvous, place: &Path) -> Fallible<DeviceId> {
    let (identity, name) = (there.identity(), there.lock().stronghold().name().to_owned());
    let (device, place) = (identity.device(), place.to_str().ok_or("a path in UTF-8")?.to_owned());
    let peer = Peer {
        own_name: name.clone(),
        name,
        spki: identity.public().spki().to_vec(),
        address: None,
        paired: Timestamp::from_millis(1),
        generation: 0,
        rendezvous: Some(secret.clone()),
    };
    let operations = [Operation::Pull, Operation::Push, Operation::Delete].into();
    let rule = Rule { device, operations, selection: Selection::everything(), expires: None, ask: false };
    here.update(|stronghold| {
        stronghold.peers_mut().insert(device, peer);
        stronghold.peers_mut().set_mailbox_place(&device, &place);
        stronghold.policy_mut().grant(rule);
        Ok::<_, VaultFileError>(())
    })?;
    Ok(device)
}

async fn exchange(home: &SharedVault, peer: DeviceId) -> Fallible<()> {
    let store = open_store(home, peer).await?;
    let mut exchange = Exchange::new(home, &*store, peer).await?;
    exchange.run(&mut NoHandler).await?;
    let (name, done) = (home.lock().stronghold().name().to_owned(), exchange.into_done());
    let summary = &done.outcome.summary;
    println!("[{name}] received {}, sent {}; {} waiting", summary.received, summary.sent, done.waiting);
    Ok(())
}
