//! Pairs two devices with a code that one shows and the other reads.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
};

use serde_json::json;
use stronghold_net::{
    ChannelError, Invitation, Listener, Pairing, Peer, PeerError, PlanDecision, SharedVault,
    discovery::{Announcement, reachable_at},
    pairing::{Paired, PendingPairing, Settled},
};
use stronghold_sync::{DeviceId, Operation, Rule, Selection, escape_untrusted};
use stronghold_vault::{Identity, Stronghold, check_given_name};

use stronghold_net::pairing::CODE_LIFE;

use super::{peers::add_rule, progress::Progress, qr, remote::At};
use crate::address::{DEFAULT_LISTEN, to_dial, to_listen};
use crate::context::{Context, runtime, selections};
use crate::waiting::Waiting;
use crate::{
    error::{Failure, Kind},
    output::{Output, counted},
    secrets, terminal,
};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Listen on ADDR for the other device; default: 0.0.0.0:4747, or any port if that is taken.
    #[arg(long, value_name = "ADDR", conflicts_with = "join", value_parser = to_listen)]
    pub(crate) listen: Option<String>,
    /// Join the device at ADDR, with the code that it shows. Without ADDR, search the network.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, value_parser = to_dial)]
    pub(crate) join: Option<Option<String>>,
    /// Name the other device here; default: the name it gives itself.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Listen over QUIC too: across NATs, with a relay.
    #[cfg(feature = "iroh")]
    #[arg(long, conflicts_with = "join")]
    pub(crate) iroh: bool,
    #[cfg(feature = "iroh")]
    #[command(flatten)]
    pub(crate) relays: super::relays::RelayArgs,
    #[command(flatten)]
    pub(crate) grants: Grants,
}

/// Rules for the device being paired.
#[derive(Debug, Default, Args)]
pub(crate) struct Grants {
    /// Allow the other device OPERATION here; may be repeated.
    #[arg(long, value_name = "OPERATION", num_args = 1.., value_delimiter = ',')]
    pub(crate) grant: Vec<Operation>,
    /// Limit --grant to matching locations; may be repeated.
    #[arg(long, value_name = "GLOB", requires = "grant")]
    pub(crate) select: Vec<String>,
}

pub(super) fn pair(context: &Context, args: &PairArgs) -> Result<(), Failure> {
    let granted = Granted::parse(context, &args.grants)?;
    args.name.as_deref().map_or(Ok(()), check_given_name)?;
    context.existing().map_err(|failure| match failure.kind {
        Kind::NotFound => failure.hint(
            "create one with `stronghold init`; or take all that the other device has, with `stronghold clone --join` here \
             and `stronghold pair --grant import` there",
        ),
        _ => failure,
    })?;
    let home = SharedVault::new(context.open()?);
    let me = Me::of(&home)?;
    runtime()?.block_on(async {
        match &args.join {
            Some(address) => {
                let at = At {
                    at: address.clone(),
                    #[cfg(feature = "iroh")]
                    relays: args.relays.clone(),
                };
                let (mut paired, address) = join(context, &me, &at).await?;
                let saving = Saving { home: &home, name: args.name.as_deref(), address, granted };
                let name = saving.settle(&mut paired).await?;
                report_paired(context, &paired, &name, &args.grants.grant)?;
                let _ = paired.channel.close().await;
                Ok(())
            }
            None => listen(context, &home, &me, args, granted).await,
        }
    })
}

/// Rules for the device being paired.
pub(super) struct Granted<'a> {
    operations: &'a [stronghold_sync::Operation],
    selection: Selection,
}

impl<'a> Granted<'a> {
    /// Parses the options. A grant needs `--yes` if there is no terminal to confirm the device on.
    pub(super) fn parse(context: &Context, grants: &'a Grants) -> Result<Self, Failure> {
        if !grants.grant.is_empty() && !context.global.yes && !terminal::exists() {
            let message = "there is no terminal to ask whether it is the right device; nothing was changed";
            return Err(Failure::new(Kind::NeedsYes, message).hint(
                "say --yes to grant this to whoever has the code, or pair without --grant and use `stronghold grant` then",
            ));
        }
        Ok(Self { operations: &grants.grant, selection: selections(&grants.select)? })
    }

    /// Adds the rules for the device.
    pub(super) fn add_for(&self, stronghold: &mut Stronghold, device: DeviceId) {
        add_rule(stronghold, device, self.operations, &self.selection, false, None);
    }
}

/// Parameters for saving a pairing.
struct Saving<'a> {
    home: &'a SharedVault,
    name: Option<&'a str>,
    address: Option<String>,
    granted: Granted<'a>,
}

/// A saved pairing, and the state that it replaced.
struct Saved {
    device: DeviceId,
    name: String,
    before: Option<stronghold_vault::Peer>,
    rules_before: Vec<(u64, Rule)>,
}

impl Saving<'_> {
    /// Saves the pairing on both sides or on neither. Returns the device's name here.
    async fn settle(self, paired: &mut Paired) -> Result<String, Failure> {
        let home = self.home;
        let (saved, settled) = paired
            .settle(async |paired| self.save(paired), async |saved: Saved| saved.take_back(home))
            .await?;
        settled_on_both(&saved.name, settled).map(|()| saved.name)
    }

    fn save(self, paired: &Paired) -> Result<Saved, Failure> {
        let device = paired.peer.device();
        self.home.update(|stronghold| {
            let before = stronghold.peers().get(&device).cloned();
            let rules = stronghold.policy().rules_of(&device);
            let rules_before = rules.map(|(number, rule)| (number, rule.clone())).collect();
            let name = paired.save_in(stronghold, self.name, self.address);
            self.granted.add_for(stronghold, device);
            Ok(Saved { device, name, before, rules_before })
        })
    }
}

impl Saved {
    fn take_back(self, home: &SharedVault) -> Result<(), Failure> {
        home.update(|stronghold| {
            stronghold.policy_mut().revoke(&self.device);
            for (number, rule) in self.rules_before {
                stronghold.policy_mut().put_back(number, rule);
            }
            stronghold.peers_mut().restore(&self.device, self.before);
            Ok(())
        })
    }
}

/// Fails if the peer has not confirmed that it saved the pairing.
pub(super) fn settled_on_both(name: &str, settled: Settled) -> Result<(), Failure> {
    let Settled::Here(error) = settled else { return Ok(()) };
    let message = format!(
        "{} is saved here, but has not said whether it has saved this device: {error}",
        escape_untrusted(name)
    );
    Err(Failure::new(Kind::Unconfirmed, message)
        .hint("if `stronghold peers` there does not list this device, pair again"))
}

/// Identity and name that this device presents to a peer.
pub(super) struct Me {
    identity: Identity,
    name: String,
}

impl Me {
    fn of(home: &SharedVault) -> Result<Self, Failure> {
        Ok(Self { identity: home.identity(), name: home.lock().stronghold().name().to_owned() })
    }

    /// Takes the identity of a Stronghold that has no snapshot yet.
    pub(super) fn new(stronghold: &Stronghold) -> Result<Self, Failure> {
        let identity = Identity::from_bytes(&stronghold.identity().to_bytes());
        let identity = identity.map_err(ChannelError::from)?;
        Ok(Self { identity, name: stronghold.name().to_owned() })
    }
}

async fn listen(
    context: &Context,
    home: &SharedVault,
    me: &Me,
    args: &PairArgs,
    granted: Granted<'_>,
) -> Result<(), Failure> {
    let pairing = Pairing::new().map_err(stronghold_vault::WriteError::from)?;
    let listener = listen_at(args.listen.as_deref()).await?;
    let address = listener.local_addr().map_err(|error| ChannelError::Io(error.kind()))?;
    #[cfg(feature = "iroh")]
    let listener = listen_across(context, listener, &pairing, args)?;
    let invitation = pairing.invitation(reachable_at(address));
    let announcement =
        announced(context.output, address, || Announcement::for_pairing(pairing.code(), address));
    // A device that may import everything has nothing yet: it clones.
    let joins = match args.grants.grant.contains(&Operation::Import) {
        true => "stronghold clone --join",
        false => "stronghold pair --join",
    };
    show(context.output, &invitation, address, joins)?;
    let waiting = Waiting::begin(context.output, "waiting for the other device", Some(CODE_LIFE));
    let met = pairing.wait(&listener, &me.identity, &me.name).await;
    drop((waiting, announcement, listener));
    let mut paired = confirmed(context, me, met?.0).await?;
    let name =
        Saving { home, name: args.name.as_deref(), address: None, granted }.settle(&mut paired).await?;
    report_paired(context, &paired, &name, &args.grants.grant)?;
    // A device that was paired to be cloned sends its request at once, over the same channel.
    let mut progress = Progress::new(context.output, home, &name, PlanDecision::Proceed);
    match Peer::from_channel(paired.channel, home).answer(&mut progress).await {
        Ok(summary) => {
            context.output.note(&format!("gave {}", counted(summary.sent, "entry")));
            Ok(())
        }
        Err(PeerError::Channel(ChannelError::Closed | ChannelError::Cut)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Shows the code as text and link, and as a QR code if stdout is a terminal; and the command that
/// `joins` on the other device.
fn show(output: Output, invitation: &Invitation, address: SocketAddr, joins: &str) -> Result<(), Failure> {
    let (code, link) = (invitation.code.reveal(), invitation.link());
    let addresses: Vec<String> = invitation.addresses.iter().map(ToString::to_string).collect();
    let object = json!({
        "code": code.as_str(),
        "address": address.to_string(),
        "addresses": addresses,
        "link": link.as_str(),
    });
    output.result(&object, || {
        let mut lines = vec![format!("code: {}", code.as_str()), format!("link: {}", link.as_str())];
        let at = addresses.first().map_or_else(|| address.to_string(), Clone::clone);
        lines.push(match address.ip().is_loopback() {
            true => format!("on the other device, within ten minutes: {joins} {at}"),
            false => {
                format!(
                    "on the other device, within ten minutes: {joins}   (on another network: {joins} {at})"
                )
            }
        });
        if std::io::stdout().is_terminal() {
            // Capital letters need fewer blocks.
            lines.extend(qr::code(link.to_uppercase().as_bytes()).map(|code| code.to_string()));
        }
        lines
    })
}

/// Announces a socket that other devices can reach. A failure is only a note: the other device then
/// needs the address.
pub(super) fn announced(
    output: Output,
    address: SocketAddr,
    announce: impl FnOnce() -> Result<Announcement, stronghold_net::discovery::DiscoveryError>,
) -> Option<Announcement> {
    if address.ip().is_loopback() {
        return None;
    }
    announce()
        .inspect_err(|error| output.note(&format!("note: {error}; the other device needs the address")))
        .ok()
}

/// Adds a listener over QUIC, where the options ask for one.
#[cfg(feature = "iroh")]
fn listen_across(
    context: &Context,
    listener: Listener,
    pairing: &Pairing,
    args: &PairArgs,
) -> Result<Listener, Failure> {
    use stronghold_net::QuicEvent;
    if !args.iroh && args.relays.relay.is_empty() {
        return Ok(listener);
    }
    let address = listener.local_addr().map_err(|error| ChannelError::Io(error.kind()))?;
    let output = context.output;
    let told = move |event: QuicEvent| match event {
        QuicEvent::Relay(relay) => {
            output.note(&format!("note: to be found at the relay {}", escape_untrusted(&relay)));
        }
        QuicEvent::NoRelay => output.note("note: no relay can be reached; it is tried again"),
        QuicEvent::Failed(_, reason) => {
            output.note(&format!("note: not listening over QUIC: {}", escape_untrusted(&reason)));
        }
        _ => {}
    };
    Ok(listener.with_quic(pairing.listen_across(address, args.relays.chosen(context)?, told)))
}

/// Binds the given address, else the default, else any free port.
async fn listen_at(address: Option<&str>) -> Result<Listener, Failure> {
    match address {
        Some(address) => bind(address).await,
        None => match Listener::bind(DEFAULT_LISTEN).await {
            Ok(listener) => Ok(listener),
            Err(_) => bind("0.0.0.0:0").await,
        },
    }
}

pub(super) async fn bind(address: &str) -> Result<Listener, Failure> {
    Listener::bind(address).await.map_err(|error| {
        Failure::new(Kind::Network, format!("can't listen on {}: {error}", escape_untrusted(address)))
            .hint("say another address with --listen, such as 0.0.0.0:4748")
    })
}

/// Joins the device that shows a code. Returns the address that worked, if it was over TCP.
pub(super) async fn join(context: &Context, me: &Me, at: &At) -> Result<(Paired, Option<String>), Failure> {
    let line = secrets::line("Code or link: ")?;
    let invitation: Invitation = line.parse().map_err(|error: stronghold_net::ParseInvitationError| {
        Failure::usage(
            error.to_string(),
            "compare it with the other screen; nothing was tried with it, so it is still good",
        )
    })?;
    if at.at.is_none() && invitation.addresses.is_empty() {
        context.output.note("searching this network for the device that shows the code ...");
    }
    let address = at.at.as_deref();
    #[cfg(feature = "iroh")]
    let (met, address) = {
        let relays = at.relays.chosen(context)?;
        stronghold_net::dial_pairing_across(&invitation, &me.identity, &me.name, address, &relays).await?
    };
    #[cfg(not(feature = "iroh"))]
    let (met, address) = {
        let (met, address) =
            stronghold_net::dial_pairing(&invitation, &me.identity, &me.name, address).await?;
        (met, Some(address))
    };
    Ok((confirmed(context, me, met).await?, address))
}

/// Shows both devices on the terminal and waits for a yes, wherever stdin, stdout and stderr are
/// redirected. Confirms without asking if there is no terminal.
async fn confirmed(context: &Context, me: &Me, met: PendingPairing) -> Result<Paired, Failure> {
    if context.global.yes {
        return Ok(met.confirm().await?);
    }
    let line = |what: &str, name: &str, device: DeviceId| {
        format!("{what}  {}  {}\n", device.fingerprint(), escape_untrusted(name))
    };
    let shown = line("this device:", &me.name, me.identity.device())
        + &line("the other:  ", met.name(), met.device());
    match terminal::ask(&format!("{shown}Does the other screen show the same two?"))? {
        None => Ok(met.confirm().await?),
        Some(true) => {
            let _ = writeln!(std::io::stderr(), "waiting for the other screen ...");
            Ok(met.confirm().await?)
        }
        Some(false) => {
            met.decline().await;
            Err(Failure::new(Kind::DeclinedByPeer, "the pairing was declined; nothing was changed"))
        }
    }
}

pub(super) fn report_paired(
    context: &Context,
    paired: &Paired,
    name: &str,
    grants: &[Operation],
) -> Result<(), Failure> {
    let device: DeviceId = paired.peer.device();
    context.output.result(&json!({ "paired": device.to_string(), "name": name }), || {
        vec![format!("paired with {}, {}", escape_untrusted(name), device.fingerprint())]
    })?;
    if grants.is_empty() {
        let hint = "stronghold grant PEER OPERATION... --select SELECTION";
        context.output.note(&format!("note: it may do nothing here yet: {hint}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairing_that_the_other_side_did_not_confirm_is_a_failure() {
        assert!(settled_on_both("phone", Settled::Both).is_ok());
        let failure = settled_on_both("pho\nne", Settled::Here(ChannelError::Cut)).unwrap_err();
        let begin = "pho\\u{a}ne is saved here, but has not said whether it has saved this device: ";
        assert_eq!((failure.kind, failure.kind.exit()), (Kind::Unconfirmed, 9));
        assert!(failure.message.starts_with(begin) && failure.message.len() > begin.len(), "{failure:?}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("pair again")));
    }
}
