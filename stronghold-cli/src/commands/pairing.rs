//! Pairing: a code on one screen, typed into the other.

use serde_json::json;
use stronghold_net::{
    Channel, ChannelError, Expect, PairingCode, SharedHome, Unattended, now, own_identity,
    pairing::{self, Paired},
    peer, wait_to_pair,
};
use stronghold_sync::{DeviceId, Selection, visible};
use stronghold_vault::{Identity, Peer};
use tokio::net::{TcpListener, TcpStream};

use super::{Context, peers::add_rule, remote::runtime, selections};
use crate::{
    args::{Grants, PairArgs},
    error::Failure,
    secrets,
};

pub(super) fn pair(context: &Context, args: &PairArgs) -> Result<(), Failure> {
    let granted = Granted::parse(&args.grants)?;
    let home = SharedHome::new(context.open()?);
    runtime()?.block_on(async {
        match &args.join {
            Some(address) => {
                let (identity, own_name) = who(&home)?;
                let mut paired = join(&identity, &own_name, address.as_deref()).await?;
                let _ = paired.channel.close().await;
                remember(&home, &paired, args.name.as_deref(), address.clone(), &granted)
                    .and_then(|name| told(context, &paired, &name))
            }
            None => listen(context, &home, args, &granted).await,
        }
    })
}

/// What the device that is being paired is to be allowed.
pub(super) struct Granted<'a> {
    operations: &'a [stronghold_sync::Operation],
    selection: Selection,
}

impl<'a> Granted<'a> {
    pub(super) fn parse(grants: &'a Grants) -> Result<Self, Failure> {
        Ok(Self { operations: &grants.grant, selection: selections(&grants.select)? })
    }
}

async fn listen(
    context: &Context,
    home: &SharedHome,
    args: &PairArgs,
    granted: &Granted<'_>,
) -> Result<(), Failure> {
    let code = PairingCode::generate().map_err(stronghold_vault::WriteError::from)?;
    let (identity, name) = who(home)?;
    let listener = bind(&args.listen).await?;
    let address = listener.local_addr().map_err(|error| ChannelError::Io(error.kind()))?;
    context.output.result(
        &json!({ "code": code.reveal().as_str(), "address": address.to_string() }),
        || {
            vec![
                format!("code: {}", code.reveal().as_str()),
                format!("on the other device: stronghold pair --join {address}"),
            ]
        },
    )?;
    let (mut paired, _) = wait_to_pair(&listener, &identity, code, &name).await?;
    let name = remember(home, &paired, args.name.as_deref(), None, granted)?;
    told(context, &paired, &name)?;
    // A device that was paired to be cloned asks at once, over the same channel.
    match peer::answer(&mut paired.channel, home, &mut Unattended).await {
        Ok(summary) => {
            let _ = paired.channel.close().await;
            context.output.note(&format!("gave {} entries", summary.sent));
            Ok(())
        }
        Err(peer::PeerError::Channel(ChannelError::Closed | ChannelError::Cut)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// This device, as it shows itself to another.
fn who(home: &SharedHome) -> Result<(Identity, String), Failure> {
    Ok((own_identity(home)?, home.lock().stronghold().name().to_owned()))
}

pub(super) async fn bind(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new("network", crate::error::PEER, format!("can't listen on {}: {error}", visible(address)))
            .hint("say another address with --listen, such as 0.0.0.0:4748")
    })
}

/// Joins the device that shows a code.
pub(super) async fn join(
    identity: &Identity,
    name: &str,
    address: Option<&str>,
) -> Result<Paired<TcpStream>, Failure> {
    let address = address.ok_or_else(|| {
        Failure::usage(
            "without an address the other device can't be found yet",
            "say the one that it shows: --join ADDR",
        )
    })?;
    let code: PairingCode =
        secrets::line("Code: ")?.trim().parse().map_err(|error: stronghold_net::BadCode| {
            Failure::usage(
                error.to_string(),
                "it has 16 letters and digits, in 4 groups; nothing was tried with it",
            )
        })?;
    let channel = Channel::connect(connect(address).await?, identity, Expect::Anyone).await?;
    Ok(pairing::join(channel, code, name).await?)
}

pub(super) async fn connect(address: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        Failure::new(
            "network",
            crate::error::PEER,
            format!("can't reach {}: {error}; nothing was changed", visible(address)),
        )
        .hint("is `stronghold serve` or `stronghold pair` running there? Say where with --at or --join")
    })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Remembers a paired device, with its rules; gives the name that it has here.
pub(super) fn remember(
    home: &SharedHome,
    paired: &Paired<TcpStream>,
    name: Option<&str>,
    address: Option<String>,
    granted: &Granted<'_>,
) -> Result<String, Failure> {
    let device = paired.peer.device();
    let wanted = name.unwrap_or(&paired.name).to_owned();
    home.lock().update(|stronghold| {
        let taken = stronghold.peers().iter().any(|(id, peer)| *id != device && peer.name == wanted);
        let name = if taken { format!("{wanted}-{}", &device.to_string()[..4]) } else { wanted };
        let peer = Peer {
            name: name.clone(),
            own_name: paired.name.clone(),
            spki: paired.peer.spki().to_vec(),
            address,
            paired: now(),
            generation: 0,
            rendezvous: None,
        };
        stronghold.peers_mut().insert(device, peer);
        add_rule(stronghold, device, granted.operations, &granted.selection, false, None);
        Ok::<_, Failure>(name)
    })
}

pub(super) fn told(context: &Context, paired: &Paired<TcpStream>, name: &str) -> Result<(), Failure> {
    let device: DeviceId = paired.peer.device();
    context.output.result(&json!({ "paired": device.to_string(), "name": name }), || {
        vec![format!("paired with {}, {}", visible(name), device.fingerprint())]
    })
}
