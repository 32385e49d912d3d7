//! `clone`: imports everything from another device into a new snapshot.

use stronghold_net::{HostError, Peer, PeerError, PlanDecision, SharedVault, pairing::Paired};
use stronghold_sync::{Selection, session::SessionError};
use stronghold_vault::check_given_name;

use super::remote::reach;
use super::remote::report;
use super::{
    init, pair::Granted, pair::Me, pair::join, pair::report_paired, pair::settled_on_both, progress::Progress,
};
use crate::commands::pair::Grants;
use crate::commands::remote::At;
use crate::context::{Context, host_name, is_taken, runtime, selections};
use crate::{error::Failure, secrets};

pub(super) fn clone(
    context: &Context,
    peer: Option<String>,
    joined: Option<Option<String>>,
    name: Option<String>,
    grants: &Grants,
    at: &At,
    only: &[String],
) -> Result<(), Failure> {
    let selection = selections(only)?;
    let granted = Granted::parse(context, grants)?;
    name.as_deref().map_or(Ok(()), check_given_name)?;
    match (peer, joined) {
        (Some(peer), _) => {
            let home = SharedVault::new(context.open()?);
            runtime()?.block_on(async {
                let reached = reach(context, &home, &peer, at).await?;
                import(context, &home, &peer, reached, selection).await
            })
        }
        (None, address) => {
            let at = At {
                at: address.flatten(),
                #[cfg(feature = "iroh")]
                relays: at.relays.clone(),
            };
            let path = context.path()?;
            if is_taken(&path)? {
                return Err(Failure::exists(&path));
            }
            let secret = secrets::of_new_snapshot(&context.global, context.output, &path)?;
            context.make_default_folder(&path)?;
            let mut stronghold = init::new_stronghold(&host_name())?;
            runtime()?.block_on(async {
                let me = Me::new(&stronghold)?;
                let (mut paired, address) = join(context, &me, &at).await?;
                let save = async |paired: &Paired| {
                    let name = paired.save_in(&mut stronghold, name.as_deref(), address);
                    granted.add_for(&mut stronghold, paired.peer.device());
                    Ok::<_, Failure>((context.create(&path, &secret, stronghold)?, name))
                };
                // Only the listener undoes a saved pairing.
                let ((home, name), settled) = paired.settle(save, async |_| Ok(())).await?;
                settled_on_both(&name, settled)?;
                let home = SharedVault::new(home);
                if !context.output.is_json() {
                    report_paired(context, &paired, &name, &grants.grant)?;
                }
                import(context, &home, &name, Peer::from_channel(paired.channel, &home), selection).await
            })
        }
    }
}

pub(super) async fn import(
    context: &Context,
    home: &SharedVault,
    name: &str,
    peer: Peer,
    selection: Selection,
) -> Result<(), Failure> {
    let mut progress = Progress::new(context.output, home, name, PlanDecision::Proceed);
    let outcome = peer.import(selection, &mut progress).await;
    let outcome = outcome.map_err(|error| progress.explain(with_plan_hint(error)))?;
    report(context, &outcome)
}

/// Converts the error of a command that makes no plan first: its hint names the command that does.
pub(super) fn with_plan_hint(error: PeerError) -> Failure {
    match error {
        PeerError::Session(SessionError::Deletions(losses))
        | PeerError::Host(HostError::Deletions(losses)) => Failure::from(SessionError::Deletions(losses))
            .hint(
                "`stronghold sync PEER --pull --take` shows it with --dry-run, and takes --confirm-deletions",
            ),
        other => other.into(),
    }
}
