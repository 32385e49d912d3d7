//! Pairs two devices with an application's own screens: one shows a code and a link, the other
//! reads it; both show the peer's name and fingerprint, and both persons have to agree.
//!
//! `cargo run -p stronghold-net --example pairing`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use stronghold_net::{
    Identity, Invitation, Listener, Pairing, Stronghold, dial_pairing, discovery::reachable_at,
};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let pairing = Pairing::new()?;
    let listener = Listener::bind("127.0.0.1:0").await?;
    let invitation = pairing.invitation(reachable_at(listener.local_addr()?));
    println!("[laptop] code {}", invitation.code.reveal().as_str());
    println!("[laptop] link {} (or the same as a QR code)", invitation.link().as_str());

    // A person scans the link, or types the code: then the network is searched for the laptop.
    let scanned: Invitation = invitation.link().parse()?;
    tokio::try_join!(on_the_laptop(pairing, listener), on_the_phone(scanned))?;
    Ok(())
}

async fn on_the_laptop(pairing: Pairing, listener: Listener) -> Fallible<()> {
    let (mut stronghold, identity) = (Stronghold::new("laptop")?, Identity::generate()?);
    let (met, from) = pairing.wait(&listener, &identity, "laptop").await?;
    let from = from.map_or_else(|| "elsewhere".into(), |from| from.to_string());
    println!("[laptop] met {} {} from {from}: agree", met.name(), met.device().fingerprint());
    let paired = met.confirm().await?; // or: met.decline().await
    let name = paired.save_in(&mut stronghold, Some("my phone"), None);
    println!("[laptop] paired with {name}");
    Ok(())
}

async fn on_the_phone(invitation: Invitation) -> Fallible<()> {
    let (mut stronghold, identity) = (Stronghold::new("phone")?, Identity::generate()?);
    let (met, address) = dial_pairing(&invitation, &identity, "phone", None).await?;
    println!("[phone] met {} {}: agree", met.name(), met.device().fingerprint());
    let paired = met.confirm().await?;
    let name = paired.save_in(&mut stronghold, None, Some(address));
    println!("[phone] paired with {name}");
    Ok(())
}
