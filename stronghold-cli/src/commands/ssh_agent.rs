//! `ssh-agent`: signs for SSH clients with keys that are records of the vault. No key is kept: the
//! records are read when keys are listed, and again when one signs.

use std::ffi::OsString;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io, thread};

use clap::Args;
use serde_json::json;
use stronghold_snapshot::VaultFile;
use stronghold_sync::{Location, Selection, escape_untrusted};

use super::agent::{signals, socket};
use crate::agent::Place;
use crate::context::{Context, runtime, selections};
use crate::error::{Failure, Kind, path_text, shown};
use crate::ssh::{Keys, Reply, Request, keys, read_message};
use crate::terminal;

/// Maximum number of clients at once.
const MAX_CLIENTS: usize = 64;
/// Time in which a client has to take an answer.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct SshAgentArgs {
    /// Offer only the keys at matching locations; may be repeated.
    #[arg(long, value_name = "GLOB")]
    select: Vec<String>,
    /// Ask before each use of a key: with the program $SSH_ASKPASS, else on the terminal.
    #[arg(long)]
    confirm: bool,
    /// Program to run with $SSH_AUTH_SOCK in its environment; the agent ends with it.
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
}

pub(super) fn ssh_agent(context: &Arc<Context>, args: &SshAgentArgs) -> Result<(), Failure> {
    let signer = Arc::new(Signer::new(context.clone(), selections(&args.select)?, args.confirm)?);
    signer.tell_unusable()?;
    let path = context.existing()?;
    let place = context.place(&path).map_err(|error| Failure::unknown(&path, &error))?;
    let place = place.for_ssh((!args.command.is_empty()).then(std::process::id));
    let lock = place.lock().map_err(|error| socket(&place, &error))?;
    let Some(_lock) = lock else {
        let message = format!("an agent for SSH runs for {} already", shown(&place.snapshot));
        return Err(
            Failure::new(Kind::InUse, message).hint(format!("its socket is {}", shown(&place.socket)))
        );
    };
    let ended = runtime()?.block_on(async {
        // Signals are caught before anyone knows of the socket, which is removed afterwards.
        let caught = signals().map_err(|error| Failure::terminal(&error))?;
        let listener = place.bind().map_err(|error| socket(&place, &error))?;
        let answering = signer.clone();
        thread::spawn(move || accept(&answering, &listener));
        wait(context, &place, &args.command, caught).await
    });
    signer.close();
    let _ = fs::remove_file(&place.socket);
    if !args.command.is_empty() {
        let _ = fs::remove_file(place.socket.with_extension("lock"));
    }
    match ended? {
        Some(status) if !status.success() => std::process::exit(code(status)),
        _ => Ok(()),
    }
}

/// Waits for the program to end, or for a signal if there is none. Returns how the program ended.
async fn wait(
    context: &Context,
    place: &Place,
    command: &[OsString],
    [mut hang_up, mut interrupt, mut terminate]: [tokio::signal::unix::Signal; 3],
) -> Result<Option<ExitStatus>, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        let text =
            format!("SSH_AUTH_SOCK='{}'; export SSH_AUTH_SOCK", shown(&place.socket).replace('\'', "'\\''"));
        context.output.result(&json!({ "listening": path_text(&place.socket) }), || vec![text])?;
        tokio::select! {
            _ = hang_up.recv() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        return Ok(None);
    };
    let failed = |error: &io::Error| Failure::file(program.as_ref(), error);
    let mut command = Command::new(program);
    command.args(arguments).env("SSH_AUTH_SOCK", &place.socket);
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            _ = hang_up.recv() => return stop(&mut child).map(Some).map_err(|error| failed(&error)),
            _ = terminate.recv() => return stop(&mut child).map(Some).map_err(|error| failed(&error)),
            // The terminal's signals are for the program, which has them too.
            _ = interrupt.recv() => {}
            _ = tick.tick() => {}
        }
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            return Ok(Some(status));
        }
    }
}

fn stop(child: &mut Child) -> io::Result<ExitStatus> {
    let _ = child.kill();
    child.wait()
}

/// Returns the exit code of a program, as shells do.
fn code(status: ExitStatus) -> i32 {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1)
}

/// Answers clients, each in a thread of its own.
fn accept(signer: &Arc<Signer>, listener: &UnixListener) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, for example: the next try waits.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Some(client) = client(&stream).filter(|_| clients.load(Relaxed) < MAX_CLIENTS) else { continue };
        clients.fetch_add(1, Relaxed);
        let (signer, clients) = (signer.clone(), clients.clone());
        thread::spawn(move || {
            // A client that breaks off is gone, whatever the reason.
            let _ = answer(&signer, stream, &client);
            clients.fetch_sub(1, Relaxed);
        });
    }
}

fn answer(signer: &Signer, mut stream: UnixStream, client: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    while let Some(message) = read_message(&stream)? {
        let Some(request) = Request::parse(&message) else { return Ok(()) };
        let reply = signer.answer(&request, client);
        io::Write::write_all(&mut stream, &reply.to_bytes())?;
    }
    Ok(())
}

/// Returns the name and number of the process on the other side, or `None` if another user runs it.
#[cfg(target_os = "linux")]
fn client(stream: &UnixStream) -> Option<String> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let process = peer.pid.as_raw_nonzero();
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let name = if name.trim().is_empty() { "a process".into() } else { escape_untrusted(name.trim()) };
    (peer.uid == rustix::process::geteuid()).then(|| format!("{name} ({process})"))
}

/// Returns a name for the process on the other side. The folder of the socket is this user's alone.
#[cfg(not(target_os = "linux"))]
fn client(_: &UnixStream) -> Option<String> {
    Some("a process".into())
}

/// Reads the keys and signs.
struct Signer {
    context: Arc<Context>,
    selection: Selection,
    confirm: bool,
    /// The snapshot, or `None` if it is opened for each use with the key that its agent holds then.
    held: Mutex<Option<VaultFile>>,
    /// Taken while a person is asked, so that there is one question at a time.
    asking: Mutex<()>,
}

impl Signer {
    fn new(context: Arc<Context>, selection: Selection, confirm: bool) -> Result<Self, Failure> {
        let held = match context.open_by_agent()? {
            Some(_) => None,
            None => Some(context.open()?),
        };
        Ok(Self { context, selection, confirm, held: Mutex::new(held), asking: Mutex::new(()) })
    }

    /// Reads the keys as they are in the snapshot now. There are none while it is locked.
    fn keys(&self) -> Result<Keys, Failure> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match held.as_mut() {
            Some(home) => keys(home.refresh()?, &self.selection)?,
            None => match self.context.open_by_agent()? {
                Some(home) => keys(home.stronghold(), &self.selection)?,
                None => Keys::default(),
            },
        })
    }

    fn tell_unusable(&self) -> Result<(), Failure> {
        for (at, why) in self.keys()?.1 {
            let at = escape_untrusted(&at.to_string());
            self.context.output.warning(&format!("warning: {at} is not offered: {why}"));
        }
        Ok(())
    }

    fn answer(&self, request: &Request<'_>, client: &str) -> Reply {
        let replied = match *request {
            Request::Identities => self.identities(),
            Request::Sign { public, data } => self.sign(public, data, client),
            Request::Other => Ok(Reply::Failure),
        };
        replied.unwrap_or_else(|failure| {
            self.context.output.failure(&failure);
            Reply::Failure
        })
    }

    fn identities(&self) -> Result<Reply, Failure> {
        let keys = self.keys()?.0.into_iter();
        Ok(Reply::Identities(keys.map(|key| (key.public, key.location.to_string())).collect()))
    }

    /// Signs, if the key is there and its use is confirmed. The key is not in memory meanwhile.
    fn sign(&self, public: &[u8], data: &[u8], client: &str) -> Result<Reply, Failure> {
        let find = || Ok::<_, Failure>(self.keys()?.0.into_iter().find(|key| key.public == public));
        let Some(at) = find()?.map(|key| key.location) else { return Ok(Reply::Failure) };
        if self.confirm && !self.is_confirmed(&at, client)? {
            return Ok(Reply::Failure);
        }
        let signature = find()?.and_then(|key| key.sign(data));
        Ok(signature.map_or(Reply::Failure, Reply::Signature))
    }

    /// Asks whether to use a key. Without anyone to ask, the answer is no.
    fn is_confirmed(&self, at: &Location, client: &str) -> Result<bool, Failure> {
        let _one = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let question = format!("Sign with {} for {client}?", escape_untrusted(&at.to_string()));
        let Some(program) = std::env::var_os("SSH_ASKPASS").filter(|program| !program.is_empty()) else {
            return Ok(terminal::ask(&question)?.unwrap_or(false));
        };
        let mut asking = Command::new(&program);
        asking.arg(&question).env("SSH_ASKPASS_PROMPT", "confirm").stdout(std::process::Stdio::null());
        let asked = asking.status().map_err(|error| Failure::file(program.as_ref(), &error))?;
        Ok(asked.success())
    }

    /// Lets go of the snapshot and its keys.
    fn close(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
