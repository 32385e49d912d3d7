//! Runs `serve`: answers requests of paired devices, looks into their mailboxes, prints events, and
//! asks for approval on the terminal.

#[cfg(feature = "iroh")]
mod across;
mod mailboxes;

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use serde_json::json;
use stronghold_net::{
    BoxFuture, Event, LeftBehindReport, Listener, Server, SessionHandler, SharedVault,
    discovery::Announcement,
};
use stronghold_sync::{DeviceId, Location, Pending, Plan, escape_untrusted, session::Duplicate};
use tokio::sync::Notify;

use self::mailboxes::RenderedEvent;
use super::{
    pair::announced,
    pair::bind,
    progress::{Names, warn_copied, warn_set_back, whose_word},
    terminal_handler::Console,
};
use crate::address::{DEFAULT_LISTEN, to_listen};
use crate::context::{Context, runtime};
use crate::{
    error::{Failure, Kind},
    output::Output,
};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen on ADDR, unless a service manager hands over a socket; default: 0.0.0.0:4747.
    #[arg(long, value_name = "ADDR", value_parser = to_listen)]
    pub(crate) listen: Option<String>,
    /// Stop after one session.
    #[arg(long)]
    pub(crate) once: bool,
    /// Do not announce this device to its paired devices on the network.
    #[arg(long)]
    pub(crate) no_announce: bool,
    /// Listen over QUIC too, at a UDP port for each paired device: across NATs, with a relay.
    #[cfg(feature = "iroh")]
    #[arg(long)]
    pub(crate) iroh: bool,
    /// Meet paired devices at the relay URL; may be repeated.
    #[cfg(feature = "iroh")]
    #[arg(long, value_name = "URL", requires = "iroh")]
    pub(crate) relay: Vec<String>,
}

pub(super) fn serve(context: &Context, args: &ServeArgs) -> Result<(), Failure> {
    let home = SharedVault::new(context.open()?);
    runtime()?.block_on(async {
        // Signals are caught before the output tells anyone that the server runs.
        let mut signals = Signals::caught().map_err(|error| Failure::terminal(&error))?;
        let stop = async move {
            signals.next().await;
            // A second signal ends the process without waiting for the sessions.
            tokio::spawn(async move {
                signals.next().await;
                std::process::exit(0)
            });
        };
        answer(context, home, args, inherited()?, stop).await
    })
}

/// Answers peers until `stop` completes, or after one session with `--once`. Listens on the
/// inherited socket, if there is one.
pub(super) async fn answer(
    context: &Context,
    home: SharedVault,
    args: &ServeArgs,
    inherited: Option<Listener>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let output = context.output;
    let device = home.lock().stronghold().identity().device();
    let address = args.listen.as_deref().or(context.config.listen.as_deref()).unwrap_or(DEFAULT_LISTEN);
    let listener = match inherited {
        Some(listener) => listener,
        None => bind(address).await?,
    };
    let address = listener.local_addr().map_err(|error| Failure::terminal(&error))?;
    output.result(&json!({ "listening": address.to_string(), "device": device.to_string() }), || {
        vec![format!("listening on {address} as {}", device.fingerprint())]
    })?;
    let _announcement = match args.no_announce {
        true => None,
        false => announced(output, address, || Announcement::for_peers(&home, address)),
    };
    let (names, console) = (Names::of_home(&home), Console::default());
    let events = Events::printed_by(output);
    let print = events.sender();
    let person = move || {
        let (console, names) = (console.clone(), names.clone());
        TerminalHandler { console, names, output, print: print.clone() }
    };
    let (names, once, is_over) = (Names::of_home(&home), args.once, Arc::new(Notify::new()));
    let ended = is_over.clone();
    let print = events.sender();
    let told = move |event: Event| {
        if once && matches!(event, Event::Done(..) | Event::Failed(..)) {
            ended.notify_one();
        }
        // Events are dropped while the reader of stdout stalls, so that no peer has to wait.
        let _ = described(&names, &event).map(|described| print.try_send(described));
    };
    #[cfg(feature = "iroh")]
    let listener = across::listen(context, &home, listener, args, events.sender())?;
    let looks = mailboxes::look(home.clone(), events.sender(), args.once);
    let server = Server::new(&home).with_handler(person).on_event(told);
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = is_over.notified() => {}
        }
        notify_manager(&[NotifyState::Stopping]);
    };
    notify_manager(&[NotifyState::Ready]);
    tokio::select! {
        () = server.run(listener, stop) => {}
        // An exchange that is cut off goes on at the next look.
        () = looks => {}
    }
    drop(server);
    events.finish();
    Ok(())
}

/// Returns the socket that a service manager opened for this process, if any.
fn inherited() -> Result<Option<Listener>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Kind::Network, format!("the socket that was handed over is no use: {error}"))
    };
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0).map_err(failed)? else { return Ok(None) };
    listener.try_into().map(Some).map_err(failed)
}

/// Notifies the service manager, if `NOTIFY_SOCKET` names one.
fn notify_manager(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

/// Ctrl-C, and the signal of a service manager that stops the process. Both are caught from
/// creation on, even if the parent process ignores them.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Signals {
    #[cfg(unix)]
    fn caught() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(windows)]
    fn caught() -> std::io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(windows)]
        self.interrupt.recv().await;
    }
}

/// Prints events to stdout on a thread of its own, so that a stalled reader delays no session.
/// Events are dropped while the queue is full.
struct Events {
    send: SyncSender<RenderedEvent>,
    printed: Receiver<()>,
}

impl Events {
    /// Maximum number of events in the queue.
    const MOST: usize = 1024;

    fn printed_by(output: Output) -> Self {
        let (send, events) = sync_channel::<RenderedEvent>(Self::MOST);
        let (done, printed) = sync_channel(1);
        std::thread::spawn(move || {
            for (object, line) in events {
                let _ = output.result(&object, || vec![line]);
            }
            done.send(())
        });
        Self { send, printed }
    }

    fn sender(&self) -> SyncSender<RenderedEvent> {
        self.send.clone()
    }

    /// Waits up to one second for the queued events to be printed.
    fn finish(self) {
        drop(self.send);
        let _ = self.printed.recv_timeout(Duration::from_secs(1));
    }
}

/// Returns an event as an object and a line, or `None` if it only goes to the log.
fn described(names: &Names, event: &Event) -> Option<RenderedEvent> {
    let session = |state: &str, device: &DeviceId| json!({ "session": state, "device": device.to_string(), "name": names.of(device) });
    let shown = |device: &DeviceId| escape_untrusted(&names.of(device));
    let (object, line) = match event {
        Event::Done(device, summary) => {
            let mut object = session("done", device);
            object["received"] = summary.received.into();
            object["sent"] = summary.sent.into();
            object["deleted"] = summary.deleted.into();
            object["conflicts"] = summary.conflicts.into();
            (object, format!("{}: received {}, sent {}", shown(device), summary.received, summary.sent))
        }
        Event::Failed(device, error) => {
            let mut object = session("failed", device);
            object["reason"] = error.to_string().into();
            (object, format!("{}: {error}", shown(device)))
        }
        Event::TurnedAway(number) => (
            json!({ "turned_away": number }),
            format!("{number} connections of no paired device were turned away"),
        ),
        Event::NotReady(reason) => {
            let line = format!(
                "the snapshot can't be used, so peers are told to come back: {}",
                escape_untrusted(reason)
            );
            (json!({ "snapshot": "not_ready", "reason": reason }), line)
        }
        Event::Ready => (json!({ "snapshot": "ready" }), "the snapshot can be used again".into()),
        _ => return None,
    };
    Some((object, line))
}

/// Asks the person at the terminal; refuses if there is no terminal.
struct TerminalHandler {
    console: Console,
    names: Names,
    output: Output,
    print: SyncSender<RenderedEvent>,
}

impl SessionHandler for TerminalHandler {
    fn on_rollback(&mut self, peer: DeviceId, found: u64, seen: u64) {
        warn_set_back(self.output, &self.names.of(&peer), &peer, found, seen);
    }

    fn on_duplicate(&mut self, peer: DeviceId, whose: Duplicate) {
        let name = self.names.of(&peer);
        let object = json!({
            "session": "copied",
            "device": peer.to_string(),
            "name": name,
            "whose": whose_word(whose),
        });
        if self.output.is_json() {
            let _ = self.print.try_send((object, String::new()));
        }
        warn_copied(self.output, &name, &peer, whose);
    }

    fn on_left_behind(&mut self, peer: DeviceId, left: &LeftBehindReport) {
        let name = self.names.of(&peer);
        let names = |of: &[Location]| of.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (not_given, not_taken) = (names(&left.ungiven), names(&left.untaken));
        let object = json!({
            "session": "left",
            "device": peer.to_string(),
            "name": name,
            "not_given": left.not_given,
            "not_given_names": not_given,
            "not_taken": left.not_taken,
            "not_taken_names": not_taken,
        });
        let line = |what: &str, count: u64, names: &[String]| {
            let shown: Vec<String> =
                names.iter().take(crate::output::NAMED).map(|name| escape_untrusted(name)).collect();
            let more = if count > shown.len() as u64 { ", ..." } else { "" };
            format!("{}: {what} ({count}): {}{more}", escape_untrusted(&name), shown.join(", "))
        };
        let mut lines = Vec::new();
        if left.not_taken > 0 {
            lines.push(line(
                "not taken, no rule here lets it, or a limit is met",
                left.not_taken,
                &not_taken,
            ));
        }
        if left.not_given > 0 {
            lines.push(line(
                "not given, no rule there takes it, or a limit is met",
                left.not_given,
                &not_given,
            ));
        }
        let _ = self.print.try_send((object, lines.join("\n")));
    }

    fn confirm_losses(&mut self, peer: DeviceId, plan: &Plan) -> BoxFuture<bool> {
        let who = crate::context::described(&self.names.of(&peer), &peer);
        let question = format!(
            "{who} would delete {} and empty or shrink {} of {} records here. Allow it, within a minute? [y/N] ",
            plan.deletes_here, plan.shrinks_here, plan.readable_here
        );
        let console = self.console.clone();
        Box::pin(async move { console.ask(&question).await })
    }

    fn approve(&mut self, peer: DeviceId, pending: &[Pending]) -> BoxFuture<bool> {
        let wants: Vec<String> = pending
            .iter()
            .map(|pending| format!("{} on {}", pending.grant().operation(), pending.grant().scope()))
            .collect();
        let who = crate::context::described(&self.names.of(&peer), &peer);
        let question = format!(
            "{who} wants to {}. Allow it, within a minute? [y/N] ",
            escape_untrusted(&wants.join(", "))
        );
        let console = self.console.clone();
        Box::pin(async move { console.ask(&question).await })
    }
}

#[cfg(test)]
mod tests {
    use stronghold_snapshot::{NewSlot, VaultFile};
    use stronghold_vault::Stronghold;

    use super::*;

    const PEER: DeviceId = DeviceId::from_bytes([1; 32]);

    fn names(folder: &tempfile::TempDir) -> Names {
        let stronghold = Stronghold::new("own").unwrap();
        let home = VaultFile::create(&folder.path().join("vault"), &[NewSlot::Key(&[7; 32])], stronghold);
        Names::of_home(&SharedVault::new(home.unwrap()))
    }

    #[test]
    fn an_event_is_an_object_and_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let (names, name) = (names(&folder), PEER.fingerprint());
        let summary = stronghold_sync::session::Summary {
            received: 1,
            sent: 2,
            deleted: 3,
            conflicts: 4,
            ..Default::default()
        };
        let session = |state: &str| json!({ "session": state, "device": PEER.to_string(), "name": name });
        let mut done = session("done");
        for (key, value) in [("received", 1), ("sent", 2), ("deleted", 3), ("conflicts", 4)] {
            done[key] = value.into();
        }
        let mut failed = session("failed");
        failed["reason"] = "the device was revoked".into();
        for (event, expected) in [
            (Event::Done(PEER, summary), (done, format!("{name}: received 1, sent 2"))),
            (
                Event::Failed(PEER, stronghold_net::PeerError::Revoked),
                (failed, format!("{name}: the device was revoked")),
            ),
            (Event::Ready, (json!({ "snapshot": "ready" }), "the snapshot can be used again".into())),
        ] {
            assert_eq!(described(&names, &event), Some(expected));
        }
        assert_eq!(described(&names, &Event::Started(PEER)), None, "only the log has it");
    }

    #[test]
    fn what_stays_where_it_is_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (print, printed) = std::sync::mpsc::sync_channel(1);
        let (names, output) = (names(&folder), Output::new(false, true));
        let mut person = TerminalHandler { console: Console::default(), names, output, print };
        let mut told = |not_given: u64, not_taken: u64| {
            let some = |count: u64| (0..count.min(2)).map(|n| format!("a/v/{n}").parse().unwrap()).collect();
            let (ungiven, untaken) = (some(not_given), some(not_taken));
            let mut left = LeftBehindReport::default();
            (left.not_given, left.not_taken) = (not_given, not_taken);
            (left.ungiven, left.untaken) = (ungiven, untaken);
            person.on_left_behind(PEER, &left);
            printed.recv().unwrap()
        };
        let name = PEER.fingerprint();
        let taken = format!("{name}: not taken, no rule here lets it, or a limit is met");
        let given = format!("{name}: not given, no rule there takes it, or a limit is met");
        assert_eq!(told(0, 1).1, format!("{taken} (1): a/v/0"));
        assert_eq!(told(2, 0).1, format!("{given} (2): a/v/0, a/v/1"));
        let (object, lines) = told(3, 2);
        assert_eq!(lines, format!("{taken} (2): a/v/0, a/v/1\n{given} (3): a/v/0, a/v/1, ..."));
        assert_eq!(
            object,
            json!({
                "session": "left", "device": PEER.to_string(), "name": name,
                "not_given": 3, "not_given_names": ["a/v/0", "a/v/1"],
                "not_taken": 2, "not_taken_names": ["a/v/0", "a/v/1"],
            })
        );
    }
}
