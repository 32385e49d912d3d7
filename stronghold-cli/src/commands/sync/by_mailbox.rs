//! Synchronises with one device through its mailbox.

use stronghold_net::SharedVault;

use super::session::Session;
use crate::{
    commands::{mailbox, remote::At},
    context::Context,
    error::{About, Failure, Kind},
};

/// Exchanges with one device through its mailbox.
pub(super) async fn through_mailbox(
    context: &Context,
    home: &SharedVault,
    peer: &str,
    confirms: bool,
) -> Result<(), Failure> {
    let device = home.lock().stronghold().peers().find(peer).about(&peer)?.0;
    let done = mailbox::exchange(context, home, device, confirms).await?;
    let at = At::default();
    let session = Session::new(context, home, peer, &at);
    session.report_by(&done.outcome, None, Some(&done))?;
    match done.unconfirmed {
        Some(losses) => Err(Failure::new(
            Kind::Deletions,
            format!("a letter would delete or empty {losses}; it was not taken, and waits"),
        )
        .hint("if it is what you want, say --confirm-deletions")),
        None => Ok(()),
    }
}
