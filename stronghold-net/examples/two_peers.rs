//! Runs two peers in one process, over a stream in memory: they pair, grant each other access, and
//! sync.
//!
//! `cargo run -p stronghold-net --example two_peers`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, path::Path};

use stronghold_net::{
    Direction, Labels, NewSlot, NoHandler, Operation, Pairing, Peer, Rule, Selection, Server, SharedVault,
    Stronghold, SyncRequest, VaultFile,
};
use tokio::io::duplex; // a TcpStream, or any other stream, does as well

type Fallible<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let (laptop, phone) = (device(folder.path(), "laptop")?, device(folder.path(), "phone")?);

    // Once: a person carries the code from one screen to the other.
    let pairing = Pairing::new()?;
    let typed = pairing.code().reveal().parse()?;
    let (near, far) = duplex(4096);
    let (on_laptop, on_phone) = (laptop.identity(), phone.identity());
    let (met_phone, met_laptop) = tokio::try_join!(
        pairing.respond(far, &on_laptop, "laptop"),
        Pairing::join(near, &on_phone, "phone", typed),
    )?;
    println!("laptop sees {} {}", met_phone.name(), met_phone.device().fingerprint());
    let (paired_phone, paired_laptop) = tokio::try_join!(met_phone.confirm(), met_laptop.confirm())?;
    for (home, paired) in [(&laptop, &paired_phone), (&phone, &paired_laptop)] {
        home.lock().update(|stronghold| {
            paired.save_in(stronghold, None, None);
            let operations = [Operation::Pull, Operation::Push, Operation::Delete].into();
            let selection = Selection::everything();
            let device = paired.peer.device();
            stronghold.policy_mut().grant(Rule { device, operations, selection, expires: None, ask: false });
            Ok(())
        })?;
    }

    // At every meeting: one side answers, the other syncs.
    let (near, far) = duplex(64 * 1024);
    let server = Server::new(&laptop);
    let answering = tokio::spawn(async move { server.answer(far).await });
    let peer = Peer::connect(near, &phone, paired_laptop.peer.device()).await?;
    let outcome =
        peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await?;
    answering.await?;
    println!("phone received {}, sent {}", outcome.summary.received, outcome.summary.sent);
    println!("{} bytes in, {} bytes out", outcome.bytes_in, outcome.bytes_out);
    Ok(())
}

/// Creates a device with one secret in its snapshot.
fn device(folder: &Path, name: &str) -> Fallible<SharedVault> {
    let mut stronghold = Stronghold::new(name)?;
    stronghold.write(
        &format!("wallet/of/{name}").parse()?,
        b"a secret",
        Labels::new(),
        stronghold_snapshot::now(),
    )?;
    let home = VaultFile::create(&folder.join(name), &[NewSlot::Key(&[7; 32])], stronghold)?;
    Ok(SharedVault::new(home))
}
