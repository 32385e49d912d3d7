//! Answering paired devices.

use std::{
    io::{BufRead, IsTerminal, Write},
    net::SocketAddr,
};

use serde_json::{Value, json};
use stronghold_net::{Answering, Attendant, Served, SharedHome, serve as serve_peers};
use stronghold_sync::{DeviceId, Pending, visible};

use super::{Context, pairing::bind, progress::warn_set_back, remote::runtime};
use crate::{error::Failure, output::Output};

pub(super) fn serve(context: &Context, listen: &str, once: bool) -> Result<(), Failure> {
    let home = SharedHome::new(context.open()?);
    let device = home.lock().stronghold().identity().device();
    let output = context.output;
    runtime()?.block_on(async {
        let listener = bind(listen).await?;
        let address = listener.local_addr().map_err(|error| Failure::terminal(&error))?;
        output.result(&json!({ "listening": address.to_string(), "device": device.to_string() }), || {
            vec![format!("listening on {address} as {}", device.fingerprint())]
        })?;
        let names = home.clone();
        let told = move |from: SocketAddr, served: Served| tell(output, &names, from, &served);
        let attendant = move || Person { can_be_asked: std::io::stdin().is_terminal(), output };
        let serving = serve_peers(listener, home, once, attendant, told);
        tokio::select! {
            () = serving => {}
            () = stopped() => {}
        }
        Ok(())
    })
}

/// Ctrl-C, or a service manager that stops it.
async fn stopped() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}

fn tell(output: Output, home: &SharedHome, from: SocketAddr, served: &Served) {
    let name = |device: &DeviceId| {
        let home = home.lock();
        home.stronghold().peers().by_id(device).map_or_else(|| device.fingerprint(), |peer| peer.name.clone())
    };
    let (object, line) = match served {
        Served::Done(device, summary) => (
            json!({
                "session": "done",
                "device": device.to_string(),
                "name": name(device),
                "received": summary.received,
                "sent": summary.sent,
                "deleted": summary.deleted,
                "conflicts": summary.conflicts,
            }),
            format!("{}: received {}, sent {}", visible(&name(device)), summary.received, summary.sent),
        ),
        Served::Failed(device, error) => (
            json!({
                "session": "failed",
                "device": device.map(|device| device.to_string()),
                "name": device.as_ref().map(&name),
                "reason": error.to_string(),
            }),
            format!(
                "{}: {error}",
                device.as_ref().map_or_else(|| from.to_string(), |device| visible(&name(device)))
            ),
        ),
    };
    let _ = output.result(&Value::clone(&object), || vec![line]);
}

/// Asks the person at the terminal, if there is one; else says no.
struct Person {
    can_be_asked: bool,
    output: Output,
}

impl Attendant for Person {
    fn set_back(&mut self, peer: DeviceId, found: u64, seen: u64) {
        warn_set_back(self.output, &peer, found, seen);
    }

    fn ask(&mut self, peer: DeviceId, pending: &[Pending]) -> Answering<bool> {
        let wants: Vec<String> = pending
            .iter()
            .map(|pending| format!("{} on {}", pending.grant().operation(), pending.grant().scope()))
            .collect();
        let question =
            format!("{} wants to {}. Allow it? [y/N] ", peer.fingerprint(), visible(&wants.join(", ")));
        let can_be_asked = self.can_be_asked;
        Box::pin(async move {
            can_be_asked && tokio::task::spawn_blocking(move || yes(&question)).await.unwrap_or(false)
        })
    }
}

fn yes(question: &str) -> bool {
    let mut err = std::io::stderr();
    let mut answer = String::new();
    write!(err, "{question}").and_then(|()| err.flush()).is_ok()
        && std::io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}
