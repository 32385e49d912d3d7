//! Stores on servers that the program `ssh` reaches, by SFTP: with the keys, the agent, the known
//! hosts and the settings that its user gave it.

mod session;
#[cfg(test)]
mod tests;

use std::{io, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::{Mutex, OwnedMutexGuard},
    task::JoinHandle,
    time::timeout,
};

use self::session::{Fault, Session};
use super::{
    place::RemotePlace,
    store::{Listing, Store, StoreError, is_name, temporary},
};
use crate::session::handler::BoxFuture;

/// Time limit for one request to the store, of which each message has less.
const REQUEST: Duration = Duration::from_secs(600);
/// Time limit for `ssh` to end once the connection has.
const END: Duration = Duration::from_secs(2);
/// Maximum length of the messages of `ssh` that are kept, in bytes.
const MESSAGES: usize = 8_192;

/// The folder of a pair in a folder of a server, reached by `ssh`. One process of it serves all
/// requests, and ends with the store.
#[derive(Clone, Debug)]
pub struct Sftp {
    program: Vec<String>,
    place: String,
    pair: String,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Sftp {
    /// Names the folder of a pair, [`PairKeys::folder`](super::PairKeys::folder), in a place. The
    /// first request connects.
    pub fn new(place: &RemotePlace, pair: &str) -> Self {
        let path = place.path();
        let place_path = match path.strip_prefix('~') {
            Some("") => ".".to_owned(),
            Some(home) if home.starts_with('/') => home.trim_start_matches('/').to_owned(),
            _ => format!("/{path}"),
        };
        Self::over(ssh(place), &place_path, pair)
    }

    /// Speaks with a program that takes the requests on its standard input.
    fn over(program: Vec<String>, place: &str, pair: &str) -> Self {
        let place = place.to_owned();
        let pair = format!("{}/{pair}", place.trim_end_matches('/'));
        Self { program, place, pair, connection: Arc::default() }
    }

    fn path(&self, name: &str) -> Result<String, StoreError> {
        if !is_name(name) {
            return Err(StoreError::Name);
        }
        Ok(format!("{}/{name}", self.pair))
    }

    /// Returns the connection, which is made if there is none. It is taken from its place, so a
    /// request that fails or is dropped leaves none that waits for its answer.
    async fn connect(&self) -> Result<Held, StoreError> {
        let mut place = self.connection.clone().lock_owned().await;
        let connection = match place.take() {
            Some(connection) => connection,
            None => Connection::open(&self.program).await?,
        };
        Ok(Held { place, connection })
    }

    async fn list_now(self, limit: usize) -> Result<Listing, StoreError> {
        let mut held = self.connect().await?;
        let listed = limited(held.connection.session.list(&self.pair, limit)).await;
        if matches!(listed, Err(Fault::Missing)) {
            // The first object makes the pair's folder; the place must be there.
            let there = limited(held.connection.session.check_folder(&self.place)).await;
            let empty = Listing { is_complete: true, ..Listing::default() };
            return held.finish(there.map(|()| empty)).await;
        }
        held.finish(listed).await
    }

    async fn get_now(self, path: String, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let mut held = self.connect().await?;
        match limited(held.connection.session.get(&path, limit)).await {
            Err(Fault::Missing) => held.finish(Ok(None)).await,
            got => held.finish(got.map(Some)).await,
        }
    }

    async fn put_now(self, path: String, object: Vec<u8>) -> Result<(), StoreError> {
        let temporary = format!("{}/{}", self.pair, temporary()?);
        let mut held = self.connect().await?;
        let put = limited(held.connection.session.put(&self.pair, &temporary, &path, &object)).await;
        held.finish(put).await
    }

    async fn delete_now(self, path: String) -> Result<(), StoreError> {
        let mut held = self.connect().await?;
        match limited(held.connection.session.delete(&path)).await {
            Err(Fault::Missing) => held.finish(Ok(())).await,
            deleted => held.finish(deleted).await,
        }
    }
}

impl Store for Sftp {
    fn list(&self, limit: usize) -> BoxFuture<Result<Listing, StoreError>> {
        Box::pin(self.clone().list_now(limit))
    }

    fn get(&self, name: &str, limit: usize) -> BoxFuture<Result<Option<Vec<u8>>, StoreError>> {
        let (this, path) = (self.clone(), self.path(name));
        Box::pin(async move { this.get_now(path?, limit).await })
    }

    fn put(&self, name: &str, object: Vec<u8>) -> BoxFuture<Result<(), StoreError>> {
        let (this, path) = (self.clone(), self.path(name));
        Box::pin(async move { this.put_now(path?, object).await })
    }

    fn delete(&self, name: &str) -> BoxFuture<Result<(), StoreError>> {
        let (this, path) = (self.clone(), self.path(name));
        Box::pin(async move { this.delete_now(path?).await })
    }
}

/// Returns the command that connects to a place. What it must not do stands before the settings of
/// its user, who names the rest: keys, jumps, and names of hosts.
fn ssh(place: &RemotePlace) -> Vec<String> {
    let (user, host, port) = place.ssh();
    let mut words = vec!["ssh".to_owned()];
    for option in [
        // It asks nobody, and connects to no server that is not known.
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ConnectTimeout=30",
        "ServerAliveInterval=30",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RequestTTY=no",
        "LogLevel=ERROR",
    ] {
        words.extend(["-o".to_owned(), option.to_owned()]);
    }
    words.extend(port.into_iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
    words.extend(user.into_iter().flat_map(|user| ["-l".to_owned(), user]));
    words.extend(["-s", "--", &host, "sftp"].map(str::to_owned));
    words
}

/// Ends a request that takes too long.
async fn limited<T>(request: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(REQUEST, request).await.unwrap_or(Err(Fault::Slow))
}

/// A process of `ssh`, and the session through it.
#[derive(Debug)]
struct Connection {
    session: Session,
    process: Child,
    messages: JoinHandle<String>,
}

/// A connection during a request, and the place for it after.
struct Held {
    place: OwnedMutexGuard<Option<Connection>>,
    connection: Connection,
}

impl Held {
    /// Keeps the connection for the next request, unless this one ended it.
    async fn finish<T>(mut self, done: Result<T, Fault>) -> Result<T, StoreError> {
        match done {
            Ok(_) | Err(Fault::Missing | Fault::Denied | Fault::TooLong(_)) => {
                *self.place = Some(self.connection);
                done.map_err(StoreError::from)
            }
            Err(Fault::Ended) => Err(self.connection.end().await),
            Err(fault) => Err(fault.into()),
        }
    }
}

impl Connection {
    async fn open(program: &[String]) -> Result<Self, StoreError> {
        let (name, words) = program.split_first().ok_or(StoreError::NoSsh)?;
        let mut command = Command::new(name);
        command.args(words).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NoSsh,
            _ => error.into(),
        })?;
        let (input, output) = process.stdout.take().zip(process.stdin.take()).ok_or(StoreError::NoSsh)?;
        let messages = tokio::spawn(last_of(process.stderr.take()));
        let session = Session::new(Box::new(input), Box::new(output));
        let mut connection = Self { session, process, messages };
        match limited(connection.session.begin()).await {
            Ok(()) => Ok(connection),
            Err(Fault::Ended) => Err(connection.end().await),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Reads from the messages of `ssh` why the connection ended.
    async fn end(mut self) -> StoreError {
        let said = timeout(END, &mut self.messages).await;
        let _ = self.process.start_kill();
        let said = said.ok().and_then(Result::ok).unwrap_or_default().to_lowercase();
        let tells = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if tells(&["host key verification failed", "no matching host key"]) {
            return StoreError::HostKey;
        }
        if tells(&["permission denied", "too many authentication failures"]) {
            return StoreError::Denied;
        }
        StoreError::Server(if tells(&["subsystem"]) { "it has no SFTP" } else { "the connection ended" })
    }
}

/// Reads messages to their end, and returns the last of them.
async fn last_of(messages: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut messages) = messages else { return String::new() };
    let (mut last, mut part) = (Vec::new(), [0; 1_024]);
    while let Ok(read @ 1..) = messages.read(&mut part).await {
        last.extend_from_slice(&part[..read]);
        if last.len() > MESSAGES {
            last.drain(..MESSAGES / 2);
        }
    }
    String::from_utf8_lossy(&last).into_owned()
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing => Self::NoPlace,
            Fault::Denied => Self::Denied,
            Fault::TooLong(limit) => Self::TooLong(limit),
            Fault::Refused => Self::Server("it refuses"),
            Fault::Broken => Self::Server("the answer can't be read"),
            Fault::Slow => Self::Server("it does not answer"),
            Fault::Ended => Self::Server("the connection ended"),
        }
    }
}
