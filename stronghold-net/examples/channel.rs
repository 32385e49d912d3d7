//! Two devices in one process: they pair by code, part, meet again as known devices and exchange a message.
//!
//! `cargo run -p stronghold-net --example channel`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use stronghold_net::{
    Channel, Expect, PairingCode, Trust,
    pairing::{Knock, join},
};
use stronghold_vault::Identity;
use tokio::io::duplex; // a TcpStream does as well

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (laptop, phone) = (Identity::generate()?, Identity::generate()?);

    // Pairing. The laptop shows a code, a person types it into the phone.
    let shown = PairingCode::generate()?;
    let typed: PairingCode = shown.reveal().parse()?;
    let (near, far) = duplex(4096);
    let listening = async {
        let channel = Channel::accept(far, &laptop, Trust::Anyone).await?;
        Ok::<_, Box<dyn Error>>(Knock::receive(channel).await?.answer(shown, "laptop").await?)
    };
    let joining = async {
        let channel = Channel::connect(near, &phone, Expect::Anyone).await?;
        Ok::<_, Box<dyn Error>>(join(channel, typed, "phone").await?)
    };
    let (paired_phone, paired_laptop) = tokio::try_join!(listening, joining)?;
    println!("laptop paired with {} {}", paired_phone.name, paired_phone.peer.device().fingerprint());
    println!("phone paired with {} {}", paired_laptop.name, paired_laptop.peer.device().fingerprint());

    // Later: each expects the other and nobody else.
    let known = paired_phone.peer.device();
    let (near, far) = duplex(4096);
    let (asking, answering) = tokio::try_join!(
        Channel::connect(near, &phone, Expect::Device(paired_laptop.peer.device())),
        Channel::accept(far, &laptop, Trust::known(move |device| *device == known)),
    )?;
    let (mut asking, mut answering) = (asking, answering);
    asking.send("what do you hold?").await?;
    asking.flush().await?;
    println!("phone asks: {}", answering.receive::<String>().await?);
    answering.send(&vec!["mail", "bank"]).await?;
    answering.close().await?;
    println!("laptop answers: {:?}", asking.receive::<Vec<String>>().await?);
    println!("{} bytes in, {} bytes out", asking.bytes_in(), asking.bytes_out());
    Ok(())
}
