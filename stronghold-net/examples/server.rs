//! Embeds a server in an application: it answers paired devices on a socket beside the
//! application's own work, asks the application's user for approval where a rule demands it, and
//! stops on request.
//!
//! `cargo run -p stronghold-net --example server`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use stronghold_net::{
    Beyond, BoxFuture, DeviceId, Direction, Labels, Limits, Listener, NewSlot, NoHandler, Operation, Pairing,
    Rule, Selection, Server, SessionHandler, SharedVault, Stronghold, SyncRequest, VaultFile, VaultFileError,
    dial, sync::Pending,
};
use tokio::sync::oneshot;

/// The application's user, who approves requests on the application's own screen.
struct User;

impl SessionHandler for User {
    fn approve(&mut self, peer: DeviceId, pending: &[Pending]) -> BoxFuture<bool> {
        let wants: Vec<String> = pending.iter().map(|one| one.grant().operation().to_string()).collect();
        println!("{} wants to {}: the user says yes", peer.fingerprint(), wants.join(", "));
        Box::pin(async { true })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let home = |name: &str, stronghold| -> Result<SharedVault, VaultFileError> {
        Ok(SharedVault::new(VaultFile::create(
            &folder.path().join(name),
            &[NewSlot::Key(&[7; 32])],
            stronghold,
        )?))
    };
    let mut stronghold = Stronghold::new("desk")?;
    stronghold.write(&"wallet/web/mail".parse()?, b"hunter2", Labels::new(), stronghold_snapshot::now())?;
    let (desk, phone) = (home("desk", stronghold)?, home("phone", Stronghold::new("phone")?)?);
    pair(&desk, &phone).await?;

    // The application: one task answers, with limits of its own.
    let listener = Listener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut limits = Limits::default();
    limits.sessions = 8;
    let server = Server::new(&desk)
        .with_limits(limits)
        .with_handler(|| User)
        .on_event(|event| println!("event: {event:?}"));
    let serving = tokio::spawn(async move { server.run(listener, async { drop(stopped.await) }).await });

    // Another device, which knows the server's address.
    let device = desk.lock().stronghold().identity().device();
    let peer = dial(&phone, device, Some(&address)).await?;
    // No rule lets the desk write to the phone: this one command accepts the entries.
    let request = SyncRequest::new(Selection::everything(), Direction::Pull).beyond(Beyond::Everything);
    let outcome = peer.sync(request, &mut NoHandler).await?;
    println!("the phone received {}", outcome.summary.received);

    drop(stop);
    serving.await?;
    Ok(())
}

/// Pairs the two, as `--example pairing` shows; the phone may pull what the desk's user approves.
async fn pair(desk: &SharedVault, phone: &SharedVault) -> Result<(), Box<dyn Error>> {
    let pairing = Pairing::new()?;
    let typed = pairing.code().reveal().parse()?;
    let (near, far) = tokio::io::duplex(4096);
    let (on_desk, on_phone) = (desk.identity(), phone.identity());
    let (met_phone, met_desk) = tokio::try_join!(
        pairing.respond(far, &on_desk, "desk"),
        Pairing::join(near, &on_phone, "phone", typed)
    )?;
    let (the_phone, the_desk) = tokio::try_join!(met_phone.confirm(), met_desk.confirm())?;
    desk.lock().update(|stronghold| {
        the_phone.save_in(stronghold, None, None);
        stronghold.policy_mut().grant(Rule {
            device: the_phone.peer.device(),
            operations: [Operation::Pull].into(),
            selection: Selection::everything(),
            expires: None,
            ask: true,
        });
        Ok(())
    })?;
    phone.lock().update(|stronghold| {
        the_desk.save_in(stronghold, None, None);
        Ok(())
    })?;
    Ok(())
}
