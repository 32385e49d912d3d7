//! The protocol of SFTP, version 3 (draft-ietf-secsh-filexfer-02), as far as a store needs it: one
//! request at a time, but for the parts of an object that is written.

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::mailbox::store::{Listing, is_name, is_old, is_temporary};

/// Time limit for one message.
const MESSAGE: Duration = Duration::from_secs(60);
/// Maximum length of a message, as in OpenSSH.
const MAX_MESSAGE: usize = 256 << 10;
/// Length of a part of an object that is written; each server takes that much.
const PART: usize = 32 << 10;
/// Length of a part that is asked for; a server returns less, if it likes.
const READ_PART: u32 = 240 << 10;
/// Maximum number of parts that are written before the first is acknowledged.
const AHEAD: usize = 16;

/// Kinds of messages: a request each, then its answers.
mod kind {
    pub(super) const INIT: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const OPEN: u8 = 3;
    pub(super) const CLOSE: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const WRITE: u8 = 6;
    pub(super) const OPENDIR: u8 = 11;
    pub(super) const READDIR: u8 = 12;
    pub(super) const REMOVE: u8 = 13;
    pub(super) const MKDIR: u8 = 14;
    pub(super) const STAT: u8 = 17;
    pub(super) const RENAME: u8 = 18;
    pub(super) const EXTENDED: u8 = 200;
    pub(super) const STATUS: u8 = 101;
    pub(super) const HANDLE: u8 = 102;
    pub(super) const DATA: u8 = 103;
    pub(super) const NAME: u8 = 104;
    pub(super) const ATTRS: u8 = 105;
}

/// The extension by which a file is made durable.
const FSYNC: &[u8] = b"fsync@openssh.com";
/// Flags of `OPEN` to read a file.
const TO_READ: u32 = 0x01;
/// Flags of `OPEN` to write a file that is not there.
const TO_CREATE: u32 = 0x02 | 0x08 | 0x20;

/// A reason why a request failed. After the last four, the session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file or folder is not there.
    Missing,
    /// The user may not do it.
    Denied,
    /// The object is longer than the limit.
    TooLong(usize),
    /// The server refuses for another reason.
    Refused,
    /// An answer is none to the request, or is no message.
    Broken,
    /// The answer took too long.
    Slow,
    /// The stream ended.
    Ended,
}

/// A session with a server, over the standard input and output of `ssh`.
pub(super) struct Session {
    input: Box<dyn AsyncRead + Send + Unpin>,
    output: Box<dyn AsyncWrite + Send + Unpin>,
    last: u32,
    has_fsync: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        input: Box<dyn AsyncRead + Send + Unpin>,
        output: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Self {
        Self { input, output, last: 0, has_fsync: false }
    }

    /// Exchanges the versions.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        self.write(Message::new(kind::INIT).number(3)).await?;
        let answer = self.read().await?;
        let mut fields = Fields(&answer);
        if fields.byte()? != kind::VERSION || fields.number()? < 3 {
            return Err(Fault::Broken);
        }
        while !fields.0.is_empty() {
            let (name, _) = (fields.text()?, fields.text()?);
            self.has_fsync |= name == FSYNC;
        }
        Ok(())
    }

    /// Lists the objects of a folder, and removes the temporary files that nobody writes any more.
    pub(super) async fn list(&mut self, folder: &str, limit: usize) -> Result<Listing, Fault> {
        let handle = self.open(Message::new(kind::OPENDIR).text(folder.as_bytes())).await?;
        let mut listing = Listing { is_complete: true, ..Listing::default() };
        let (mut left, now) = (Vec::new(), SystemTime::now());
        while listing.is_complete {
            let answer = self.ask(Message::new(kind::READDIR).text(&handle)).await?;
            let Some(mut fields) = content(&answer, kind::NAME)? else { break };
            let count = fields.number()?;
            // An answer without a name would be asked for again without end.
            if count == 0 {
                return Err(Fault::Broken);
            }
            for _ in 0..count {
                let (name, _) = (fields.text()?, fields.text()?);
                let attributes = Attributes::read(&mut fields)?;
                if name == b"." || name == b".." {
                    continue;
                }
                if listing.names.len() + listing.others + left.len() >= limit {
                    listing.is_complete = false;
                    break;
                }
                match std::str::from_utf8(name).ok().filter(|_| attributes.is_file) {
                    Some(name) if is_name(name) => listing.names.push(name.to_owned()),
                    Some(name) if is_temporary(name) && attributes.is_old(now) => left.push(name.to_owned()),
                    _ => listing.others += 1,
                }
            }
        }
        self.done(Message::new(kind::CLOSE).text(&handle)).await?;
        for name in left {
            match self.delete(&format!("{folder}/{name}")).await {
                // The other device removes it too, or wrote it as another user.
                Ok(()) | Err(Fault::Missing | Fault::Denied) => {}
                removed => return removed.map(|()| listing),
            }
        }
        Ok(listing)
    }

    /// Reads an object of at most `limit` bytes.
    pub(super) async fn get(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, Fault> {
        let opened = Message::new(kind::OPEN).text(path.as_bytes()).number(TO_READ).number(0);
        let handle = self.open(opened).await?;
        let (mut object, mut is_over) = (Vec::new(), false);
        while !is_over && object.len() <= limit {
            let at = object.len() as u64;
            let part = Message::new(kind::READ).text(&handle).long(at).number(READ_PART);
            let answer = self.ask(part).await?;
            match content(&answer, kind::DATA)? {
                Some(mut fields) => match fields.text()? {
                    [] => return Err(Fault::Broken),
                    part => object.extend_from_slice(part),
                },
                None => is_over = true,
            }
        }
        self.done(Message::new(kind::CLOSE).text(&handle)).await?;
        if is_over { Ok(object) } else { Err(Fault::TooLong(limit)) }
    }

    /// Writes an object under a temporary name, makes it durable where the server can, and renames
    /// it. Makes the folder, if it is not there.
    pub(super) async fn put(
        &mut self,
        folder: &str,
        temporary: &str,
        path: &str,
        object: &[u8],
    ) -> Result<(), Fault> {
        let create = || Message::new(kind::OPEN).text(temporary.as_bytes()).number(TO_CREATE).number(0);
        let handle = match self.open(create()).await {
            Err(Fault::Missing) => {
                match self.done(Message::new(kind::MKDIR).text(folder.as_bytes()).number(0)).await {
                    // Another device made it at the same time, or opening it tells what is wrong.
                    Ok(()) | Err(Fault::Refused) => {}
                    Err(fault) => return Err(fault),
                }
                self.open(create()).await?
            }
            handle => handle?,
        };
        self.fill(&handle, object).await?;
        if self.has_fsync {
            self.done(Message::new(kind::EXTENDED).text(FSYNC).text(&handle)).await?;
        }
        self.done(Message::new(kind::CLOSE).text(&handle)).await?;
        self.done(Message::new(kind::RENAME).text(temporary.as_bytes()).text(path.as_bytes())).await
    }

    /// Deletes an object.
    pub(super) async fn delete(&mut self, path: &str) -> Result<(), Fault> {
        self.done(Message::new(kind::REMOVE).text(path.as_bytes())).await
    }

    /// Checks that a folder is there.
    pub(super) async fn check_folder(&mut self, path: &str) -> Result<(), Fault> {
        let answer = self.ask(Message::new(kind::STAT).text(path.as_bytes())).await?;
        let mut fields = content(&answer, kind::ATTRS)?.ok_or(Fault::Missing)?;
        if Attributes::read(&mut fields)?.is_folder { Ok(()) } else { Err(Fault::Missing) }
    }

    /// Writes the content of a file, some parts ahead of the answers.
    async fn fill(&mut self, handle: &[u8], object: &[u8]) -> Result<(), Fault> {
        let mut awaited = BTreeSet::new();
        for (at, part) in object.chunks(PART).enumerate() {
            let part = Message::new(kind::WRITE).text(handle).long((at * PART) as u64).text(part);
            awaited.insert(self.send(part).await?);
            if awaited.len() == AHEAD {
                self.written(&mut awaited).await?;
            }
        }
        while !awaited.is_empty() {
            self.written(&mut awaited).await?;
        }
        Ok(())
    }

    /// Reads the answer to one of the parts written.
    async fn written(&mut self, awaited: &mut BTreeSet<u32>) -> Result<(), Fault> {
        let answer = self.read().await?;
        let (_, rest) = answer.split_first().ok_or(Fault::Broken)?;
        if !awaited.remove(&Fields(rest).number()?) {
            return Err(Fault::Broken);
        }
        succeeded(&answer)
    }

    /// Sends a request that opens a file or folder, and returns its handle.
    async fn open(&mut self, request: Message) -> Result<Vec<u8>, Fault> {
        let answer = self.ask(request).await?;
        let mut fields = content(&answer, kind::HANDLE)?.ok_or(Fault::Broken)?;
        Ok(fields.text()?.to_vec())
    }

    /// Sends a request that is answered by a status.
    async fn done(&mut self, request: Message) -> Result<(), Fault> {
        let answer = self.ask(request).await?;
        succeeded(&answer)
    }

    /// Sends a request and returns its answer.
    async fn ask(&mut self, request: Message) -> Result<Vec<u8>, Fault> {
        let id = self.send(request).await?;
        let answer = self.read().await?;
        let (_, rest) = answer.split_first().ok_or(Fault::Broken)?;
        if Fields(rest).number()? == id { Ok(answer) } else { Err(Fault::Broken) }
    }

    /// Sends a request under a new id, and returns the id.
    async fn send(&mut self, mut request: Message) -> Result<u32, Fault> {
        self.last = self.last.wrapping_add(1);
        request.0.splice(1..1, self.last.to_be_bytes());
        self.write(request).await?;
        Ok(self.last)
    }

    async fn write(&mut self, message: Message) -> Result<(), Fault> {
        let len = u32::try_from(message.0.len()).map_err(|_| Fault::Refused)?;
        let bytes = [&len.to_be_bytes(), message.0.as_slice()].concat();
        let written = async {
            self.output.write_all(&bytes).await?;
            self.output.flush().await
        };
        timeout(MESSAGE, written).await.map_err(|_| Fault::Slow)?.map_err(|_| Fault::Ended)
    }

    async fn read(&mut self) -> Result<Vec<u8>, Fault> {
        let mut len = [0; 4];
        let message = async {
            self.input.read_exact(&mut len).await.map_err(|_| Fault::Ended)?;
            let len = usize::try_from(u32::from_be_bytes(len)).map_err(|_| Fault::Broken)?;
            if len > MAX_MESSAGE {
                return Err(Fault::Broken);
            }
            let mut message = Vec::new();
            let mut rest = (&mut self.input).take(len as u64);
            rest.read_to_end(&mut message).await.map_err(|_| Fault::Ended)?;
            if message.len() == len { Ok(message) } else { Err(Fault::Ended) }
        };
        timeout(MESSAGE, message).await.map_err(|_| Fault::Slow)?
    }
}

/// A message that is written: its kind, then its fields.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn long(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// Adds bytes and, before them, their length. Nothing that is written here is near 4 GiB.
    fn text(self, text: &[u8]) -> Self {
        let mut message = self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        message.0.extend(text);
        message
    }
}

/// The fields of a message that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_be_bytes(*self.array()?))
    }

    fn number(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(*self.array()?))
    }

    fn text(&mut self) -> Result<&'a [u8], Fault> {
        let len = usize::try_from(self.number()?).map_err(|_| Fault::Broken)?;
        self.bytes(len)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Fault::Broken)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const LEN: usize>(&mut self) -> Result<&'a [u8; LEN], Fault> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Fault::Broken)?;
        self.0 = rest;
        Ok(bytes)
    }
}

/// The attributes of a file that a store reads.
struct Attributes {
    is_file: bool,
    is_folder: bool,
    modified: Option<u32>,
}

impl Attributes {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Fault> {
        let flags = fields.number()?;
        for (flag, len) in [(1, 8), (2, 8)] {
            if flags & flag != 0 {
                fields.bytes(len)?;
            }
        }
        let mode = if flags & 4 != 0 { Some(fields.number()?) } else { None };
        let modified = if flags & 8 != 0 { Some((fields.number()?, fields.number()?).1) } else { None };
        if flags & 0x8000_0000 != 0 {
            for _ in 0..fields.number()? {
                fields.text()?;
                fields.text()?;
            }
        }
        // A server that tells no kind of file leaves it to the name.
        let is = |kind| mode.is_none_or(|mode| mode & 0o170_000 == kind);
        Ok(Self { is_file: is(0o100_000), is_folder: is(0o040_000), modified })
    }

    fn is_old(&self, now: SystemTime) -> bool {
        let at = |seconds: u32| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.into()));
        self.modified.and_then(at).is_some_and(|at| is_old(at, now))
    }
}

/// Returns the fields of an answer of a kind; `None` for the end of a file or folder.
fn content(answer: &[u8], expected: u8) -> Result<Option<Fields<'_>>, Fault> {
    let mut fields = Fields(answer);
    let (kind, _) = (fields.byte()?, fields.number()?);
    if kind == expected {
        return Ok(Some(fields));
    }
    match status(answer)? {
        Status::End => Ok(None),
        Status::Failed(fault) => Err(fault),
        Status::Done => Err(Fault::Broken),
    }
}

/// Checks that an answer is a status that tells success.
fn succeeded(answer: &[u8]) -> Result<(), Fault> {
    match status(answer)? {
        Status::Done => Ok(()),
        Status::End => Err(Fault::Refused),
        Status::Failed(fault) => Err(fault),
    }
}

enum Status {
    Done,
    End,
    Failed(Fault),
}

fn status(answer: &[u8]) -> Result<Status, Fault> {
    let mut fields = Fields(answer);
    let (kind, _) = (fields.byte()?, fields.number()?);
    if kind != kind::STATUS {
        return Err(Fault::Broken);
    }
    Ok(match fields.number()? {
        0 => Status::Done,
        1 => Status::End,
        2 => Status::Failed(Fault::Missing),
        3 => Status::Failed(Fault::Denied),
        _ => Status::Failed(Fault::Refused),
    })
}
