//! The command's side: asks the agent of a snapshot.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use stronghold_vault::LockedKey;
use thiserror::Error;
use zeroize::Zeroizing;

use super::place::{Place, check_private};
use super::protocol::{Asked, HoldTime, Left, REPLY_LEN, Reply, Request, Unread};

/// Time in which the agent has to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The agent of one snapshot, running or not.
#[derive(Debug)]
pub(crate) struct Agent<'a> {
    place: &'a Place,
}

/// The reason why an agent gives no key.
#[derive(Debug, Error)]
pub(crate) enum AgentError {
    #[error("no agent runs for this snapshot")]
    NotRunning,
    #[error("the agent holds no key")]
    Locked,
    #[error("the agent is of another version")]
    OtherVersion,
    #[error("the agent holds the key of another snapshot")]
    OtherSnapshot,
    #[error("the agent's answer makes no sense")]
    Malformed,
    #[error("another user runs the agent")]
    OtherUser,
    #[error("the agent does not answer: {0}")]
    Io(#[from] io::Error),
}

impl<'a> Agent<'a> {
    pub(crate) fn at(place: &'a Place) -> Self {
        Self { place }
    }

    /// Asks for the key. That counts as a use.
    pub(crate) fn key(&self) -> Result<LockedKey, AgentError> {
        match self.ask(Asked::Key)? {
            Reply::Key(key, _) => Ok(key),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks how long the key is held.
    pub(crate) fn left(&self) -> Result<Left, AgentError> {
        match self.ask(Asked::Status)? {
            Reply::Held(left) => Ok(left),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets the agent hold a key, in place of one that it has.
    pub(crate) fn hold(&self, key: &LockedKey, time: HoldTime) -> Result<Left, AgentError> {
        match self.ask(Asked::Hold(LockedKey::new(key.expose()), time))? {
            Reply::Held(left) => Ok(left),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets the agent wipe its key and end.
    pub(crate) fn lock(&self) -> Result<(), AgentError> {
        lock_at(&self.place.socket)
    }

    fn ask(&self, asked: Asked) -> Result<Reply, AgentError> {
        exchange(&self.place.socket, &Request { snapshot: self.place.name(), asked })
    }
}

/// Lets the agent at this socket wipe its key and end.
pub(crate) fn lock_at(socket: &Path) -> Result<(), AgentError> {
    match exchange(socket, &Request { snapshot: [0; 32], asked: Asked::Lock }) {
        // An agent of another version has understood that.
        Ok(Reply::Locked) | Err(AgentError::OtherVersion) => Ok(()),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(error),
    }
}

fn exchange(socket: &Path, request: &Request) -> Result<Reply, AgentError> {
    let mut stream = connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.write_all(&**request.to_bytes())?;
    let mut reply = Zeroizing::new([0; REPLY_LEN]);
    stream.read_exact(&mut *reply)?;
    match Reply::from_bytes(&reply) {
        Ok(Reply::OtherVersion) | Err(Unread::Version(_)) => Err(AgentError::OtherVersion),
        Ok(reply) => Ok(reply),
        Err(Unread::Malformed) => Err(AgentError::Malformed),
    }
}

/// Connects to an agent of this user.
fn connect(socket: &Path) -> Result<UnixStream, AgentError> {
    let is_absent = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    };
    let absent = |error: io::Error| match is_absent(&error) {
        true => AgentError::NotRunning,
        false => AgentError::Io(error),
    };
    if let Some(folder) = socket.parent() {
        check_private(folder).map_err(absent)?;
    }
    let stream = UnixStream::connect(socket).map_err(absent)?;
    match is_own(&stream) {
        true => Ok(stream),
        false => Err(AgentError::OtherUser),
    }
}

/// Checks that the other side runs for the same user. Where the system does not tell, the folder's
/// permissions alone say so.
fn is_own(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.as_raw() == super::place::user());
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        true
    }
}

fn unexpected(reply: &Reply) -> AgentError {
    match reply {
        Reply::Locked => AgentError::Locked,
        Reply::OtherVersion => AgentError::OtherVersion,
        Reply::OtherSnapshot => AgentError::OtherSnapshot,
        Reply::Key(..) | Reply::Held(_) | Reply::Malformed => AgentError::Malformed,
    }
}
