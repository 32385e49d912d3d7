//! Runs `agent`: holds the key of a snapshot until it is locked, and answers peers if asked to.

use std::{fs, sync::Arc};

use clap::Args;
use listenfd::ListenFd;
use serde_json::json;
use stronghold_net::SharedVault;
use stronghold_snapshot::{Unlock, VaultFile};
use stronghold_vault::LockedKey;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::serve::{self, ServeArgs};
use crate::address::to_listen;
use crate::agent::{Companion, Holder, Place, StartCompanion, sleep_announced};
use crate::background;
use crate::context::{Context, runtime};
use crate::error::{Failure, Kind, path_text, shown};

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Answer paired devices and look into their mailboxes while the snapshot is unlocked, as
    /// `serve` does.
    #[arg(long)]
    pub(crate) serve: bool,
    /// With --serve: listen on ADDR; default: 0.0.0.0:4747.
    #[arg(long, value_name = "ADDR", requires = "serve", value_parser = to_listen)]
    pub(crate) listen: Option<String>,
    /// With --serve: do not announce this device to its paired devices on the network.
    #[arg(long, requires = "serve")]
    pub(crate) no_announce: bool,
    /// With --serve: listen over QUIC too, as `serve` does.
    #[cfg(feature = "iroh")]
    #[arg(long, requires = "serve")]
    pub(crate) iroh: bool,
    /// With --iroh: meet paired devices at the relay URL; may be repeated.
    #[cfg(feature = "iroh")]
    #[arg(long, value_name = "URL", requires = "iroh")]
    pub(crate) relay: Vec<String>,
    /// Leave the session of the terminal. `unlock` starts an agent so.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

pub(super) fn agent(context: &Arc<Context>, args: AgentArgs) -> Result<(), Failure> {
    if args.detached {
        background::detach();
    }
    let path = context.existing()?;
    let place = context.place(&path).map_err(|error| Failure::unknown(&path, &error))?;
    let inherited = ListenFd::from_env().take_unix_listener(0).map_err(|error| socket(&place, &error))?;
    let lock = place.lock().map_err(|error| socket(&place, &error))?;
    let Some(_lock) = lock else {
        let message = format!("an agent runs for {} already", shown(&place.snapshot));
        return Err(Failure::new(Kind::InUse, message).hint("`stronghold lock` ends it"));
    };
    runtime()?.block_on(async {
        let is_inherited = inherited.is_some();
        let listener = listen(&place, inherited).map_err(|error| socket(&place, &error))?;
        // Signals are caught before the output tells anyone that the agent runs.
        let [mut hang_up, mut interrupt, mut terminate] =
            signals().map_err(|error| Failure::terminal(&error))?;
        let socket = place.socket.clone();
        context.output.result(&json!({ "listening": path_text(&socket) }), || {
            vec![format!("listening on {}", shown(&socket))]
        })?;
        let holder = Holder::new(place, companion(context, args));
        let delayed_sleep = tokio::select! {
            () = holder.run(listener) => None,
            delay = sleep_announced() => Some(delay),
            _ = hang_up.recv() => None,
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        };
        holder.wipe().await;
        drop(delayed_sleep);
        if !is_inherited {
            let _ = fs::remove_file(socket);
        }
        Ok(())
    })
}

/// Listens on the socket that a service manager opened, else on one of its own.
fn listen(
    place: &Place,
    inherited: Option<std::os::unix::net::UnixListener>,
) -> std::io::Result<UnixListener> {
    let listener = inherited.map_or_else(|| place.bind(), Ok)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

pub(super) fn signals() -> std::io::Result<[tokio::signal::unix::Signal; 3]> {
    Ok([signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?])
}

/// Returns the function that serves peers while a key is held, if `--serve` is given.
fn companion(context: &Arc<Context>, args: AgentArgs) -> StartCompanion {
    if !args.serve {
        return Box::new(|_| None);
    }
    let context = context.clone();
    let args = Arc::new(ServeArgs {
        listen: args.listen,
        once: false,
        no_announce: args.no_announce,
        #[cfg(feature = "iroh")]
        iroh: args.iroh,
        #[cfg(feature = "iroh")]
        relay: args.relay,
    });
    Box::new(move |key| {
        let (context, args, stop) = (context.clone(), args.clone(), Arc::new(Notify::new()));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let opening = context.clone();
            let opened = tokio::task::spawn_blocking(move || open(&opening, &key)).await;
            let served = match opened {
                Ok(Ok(vault)) => {
                    let stop = async move { stopped.notified().await };
                    serve::answer(&context, SharedVault::new(vault), &args, None, stop).await
                }
                Ok(Err(failure)) => Err(failure),
                Err(error) => Err(Failure::new(Kind::Unexpected, error.to_string())),
            };
            // Commands are answered even if no peer can be.
            if let Err(failure) = served {
                context.output.failure(&failure);
            }
        });
        Some(Companion { stop, task })
    })
}

fn open(context: &Context, key: &LockedKey) -> Result<VaultFile, Failure> {
    context.open_with(&Unlock::SlotKey(key.expose()))
}

pub(super) fn socket(place: &Place, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Agent, format!("{}: {error}", shown(&place.socket)))
}
