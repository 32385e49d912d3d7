//! Failures as people and scripts see them: a code, an exit code, a message, and a hint on its own
//! line.

mod file;
mod kind;

use std::{error::Error, fmt::Display, path::Path};

pub(crate) use kind::{EXIT_CODES, Kind};
use stronghold_net::{
    ChannelError, DialError, HostError, PeerError,
    mailbox::{ExchangeError, StoreError},
    pairing::{PairingError, Unsettled},
};
use stronghold_snapshot::MergeError;
use stronghold_sync::{
    RedundantRule, RuleTooWide, escape_untrusted, message::Refusal, session::SessionError,
};
use stronghold_vault::{
    Damaged, DeviceNameError, ExportError, FindPeerError, RandomnessError, ReadError, Revoked, WriteError,
};

const UNCHANGED: &str =
    "the snapshot is as it was before; check space and permissions of its folder, and the disk's health";

/// Reason why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// Description of the error, and of the state that the data is in.
    pub(crate) message: String,
    /// Advice on what to do.
    pub(crate) hint: Option<String>,
    /// Form of the message that names its subject in place of `{}`.
    names: Option<&'static str>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, names: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message).hint(hint)
    }

    fn no_record(error: &dyn Error, hint: &str) -> Self {
        Self::of(Kind::NotFound, error).naming("no record at {}").hint(hint)
    }

    /// Sets the form of the message that names the subject in place of `{}`.
    fn naming(mut self, form: &'static str) -> Self {
        self.names = Some(form);
        self
    }

    /// Names the record or peer that the failure is about in its message.
    pub(crate) fn about(mut self, what: &impl Display) -> Self {
        let what = escape_untrusted(&what.to_string());
        if let Some(form) = self.names.take() {
            self.message = form.replace("{}", &what);
        } else if !self.message.starts_with(&what) {
            self.message = format!("{what}: {}", self.message);
        }
        self
    }

    fn of(kind: Kind, error: &dyn Error) -> Self {
        Self::new(kind, chain(error))
    }
}

/// Conversion into failures that name their subject.
pub(crate) trait About<T> {
    /// Converts an error into a failure about `what`.
    fn about(self, what: &impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> About<T> for Result<T, E> {
    fn about(self, what: &impl Display) -> Result<T, Failure> {
        self.map_err(|error| error.into().about(what))
    }
}

/// Returns a path for people: terminal controls escaped, and bytes that are not UTF-8 as `\xHH`.
pub(crate) fn shown(path: &Path) -> String {
    let chunks = path.as_os_str().as_encoded_bytes().utf8_chunks();
    chunks.map(|chunk| escape_untrusted(chunk.valid()) + &escaped(chunk.invalid())).collect()
}

/// Returns a path for programs: unchanged, except for bytes that are not UTF-8 as `\xHH`.
pub(crate) fn path_text(path: &Path) -> String {
    let chunks = path.as_os_str().as_encoded_bytes().utf8_chunks();
    chunks.map(|chunk| chunk.valid().to_owned() + &escaped(chunk.invalid())).collect()
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// Joins an error and its causes in one sentence, with terminal controls escaped.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    escape_untrusted(&text)
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(error) => error.into(),
            ReadError::NotFound => Self::no_record(&error, "see `stronghold list`"),
            other => Self::of(Kind::NotFound, &other).hint("see `stronghold list`"),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotFound => Self::no_record(&error, "see `stronghold list` and `stronghold history`"),
            WriteError::NoSuchRevision => {
                Self::of(Kind::NotFound, &error).hint("see `stronghold list` and `stronghold history`")
            }
            WriteError::Exists => Self::of(Kind::Exists, &error)
                .naming("a record is at {}; nothing was changed")
                .hint("name another, or remove that one first"),
            WriteError::TooLarge => Self::of(Kind::TooLarge, &error)
                .hint("nothing was changed; write its parts to records of their own"),
            WriteError::Damaged(error) => error.into(),
            _ => Self::of(Kind::Unexpected, &error),
        }
    }
}

impl From<Damaged> for Failure {
    fn from(error: Damaged) -> Self {
        Self::of(Kind::Damaged, &error)
    }
}

impl From<FindPeerError> for Failure {
    fn from(error: FindPeerError) -> Self {
        match &error {
            FindPeerError::Revoked(Revoked { name, time }) => {
                let message =
                    format!("{} was revoked on {}", escape_untrusted(name), crate::clock::time(*time));
                Self::new(Kind::Revoked, message).hint("to come back it has to be paired again")
            }
            FindPeerError::Several => Self::of(Kind::Ambiguous, &error).hint("see `stronghold peers --json`"),
            _ => Self::of(Kind::NotFound, &error)
                .naming("no paired device matches \"{}\"")
                .hint("see `stronghold peers`"),
        }
    }
}

impl From<RandomnessError> for Failure {
    fn from(error: RandomnessError) -> Self {
        Self::of(Kind::Unexpected, &error)
    }
}

impl From<RedundantRule> for Failure {
    fn from(error: RedundantRule) -> Self {
        Self::of(Kind::Void, &error).hint(match error {
            RedundantRule::Unasked(_) => {
                "nothing was changed; say --replace, and this one stands instead of the older"
            }
            _ => "nothing was changed; see `stronghold peers`",
        })
    }
}

impl From<RuleTooWide> for Failure {
    fn from(error: RuleTooWide) -> Self {
        Self::of(Kind::TooWide, &error)
            .hint("nothing was changed; `stronghold grant --replace` puts a narrower rule in its place")
    }
}

impl From<DeviceNameError> for Failure {
    fn from(error: DeviceNameError) -> Self {
        Self::of(Kind::Usage, &error).hint("nothing was changed; choose another name")
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Deletions { .. } => Self::deletions(&format!("{error}; nothing was changed")),
            MergeError::Export(ExportError::Damaged(error)) => error.into(),
            other => Self::of(Kind::Unexpected, &other),
        }
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        let failure = Self::of(Kind::Network, &error);
        match error {
            ChannelError::NotTrusted => {
                failure.hint("it does not know this device, or not any more: pair again")
            }
            ChannelError::TurnedAway => failure.hint(
                "is `stronghold serve` running there, and still paired with this device? If not, pair again",
            ),
            ChannelError::WrongDevice(_) => {
                failure.hint("check the address; if the device is new, pair again")
            }
            ChannelError::Stranger => failure.hint("check the address, and who may answer in its place"),
            ChannelError::WrongCard => {
                failure.hint("someone has what only the two devices should have: pair them again")
            }
            ChannelError::Closed | ChannelError::Cut | ChannelError::TimedOut(_) => {
                failure.hint("what was confirmed is kept; run it again to go on")
            }
            ChannelError::Misbehaved(_) => failure
                .hint("is it Stronghold that answers there? Check the address; what was confirmed is kept"),
            _ => failure,
        }
    }
}

impl From<PairingError> for Failure {
    fn from(error: PairingError) -> Self {
        let failure = |kind| Self::new(kind, format!("{error}; nothing was changed"));
        match &error {
            PairingError::Channel(ChannelError::TurnedAway) => Self::new(
                Kind::Pairing,
                "something listens there, but it is not pairing; nothing was changed",
            )
            .hint("run `stronghold pair` there, and use the code and the address that it shows"),
            PairingError::Channel(error) => error.clone().into(),
            PairingError::WrongCode => failure(Kind::WrongCode)
                .hint("the code is burnt: run `stronghold pair` there again for a new one"),
            PairingError::Expired => failure(Kind::ExpiredCode)
                .hint("a code is good for ten minutes: run `stronghold pair` there again for a new one"),
            PairingError::SaidWrong => failure(Kind::WrongCode)
                .hint("compare it with the other screen; or run `stronghold pair` there again for a new one"),
            PairingError::SaidExpired => failure(Kind::ExpiredCode)
                .hint("a code is good for ten minutes: run `stronghold pair` there again for a new one"),
            PairingError::Declined => {
                failure(Kind::DeclinedByPeer).hint("the person at the other device said no")
            }
            PairingError::Impostor => failure(Kind::Pairing)
                .hint("another program answers at that address: check it, and use a new code"),
            PairingError::BadName => Self::of(Kind::Usage, &error),
            _ => failure(Kind::Pairing),
        }
    }
}

impl From<Unsettled<Self>> for Failure {
    fn from(error: Unsettled<Self>) -> Self {
        let failure = |text: &str| Self::new(Kind::Pairing, text);
        match error {
            Unsettled::Save(failure) => {
                failure.hint("the other device was told: neither has the other; pair again")
            }
            Unsettled::There => {
                failure("the other device could not save the pairing; nothing is changed here either")
                    .hint("its screen says why; then pair again")
            }
            Unsettled::TakeBack(failure) => failure.hint(
                "the other device could not save the pairing, and this one has it: pair again, or revoke it",
            ),
            Unsettled::Channel(error) => failure(&format!(
                "{error} before the other device had saved the pairing; nothing was changed here"
            ))
            .hint("if the other device lists this one by now, that is of no use to it: pair again"),
            other => failure(&other.to_string()),
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Unreachable { .. } => {
                Self::new(Kind::Network, format!("{}; nothing was changed", escape_untrusted(&error.to_string()))).hint(
                    "is `stronghold serve` or `stronghold pair` running there? Say where with --at or --join",
                )
            }
            DialError::NotFound => Self::new(Kind::Network, format!("{error}; nothing was changed")).hint(
                "run `stronghold serve` there (`stronghold pair`, to pair: a code is good for ten minutes), in the same \
                 network; else say its address with --at or --join",
            ),
            DialError::Discovery(_) => Self::new(Kind::Network, format!("{error}; nothing was changed"))
                .hint("say its address with --at or --join"),
            #[cfg(feature = "iroh")]
            DialError::Nowhere { .. } => {
                Self::new(Kind::Network, format!("{}; nothing was changed", escape_untrusted(&error.to_string()))).hint(
                    "is `stronghold serve --iroh` running there, with the same relay? Say where with --at",
                )
            }
            DialError::Peer(error) => error.into(),
            DialError::Pairing(error) => error.into(),
            other => Self::of(Kind::Network, &other),
        }
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Channel(error) => error.into(),
            PeerError::Session(error) => error.into(),
            PeerError::Host(error) => error.into(),
            PeerError::NothingToPush => {
                Self::of(Kind::Denied, &error).hint("allow it: stronghold grant PEER pull --select SELECTION")
            }
            PeerError::Unpaired => Self::of(Kind::Network, &error).hint("pair the two devices again"),
            other => Self::of(Kind::Unexpected, &other),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Home(error) => error.into(),
            HostError::Export(ExportError::Damaged(error)) | HostError::Damaged(error) => error.into(),
            other => Self::of(Kind::Unexpected, &other),
        }
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Host(error) => error.into(),
            ExchangeError::Unpaired => Self::of(Kind::Network, &error).hint("pair the two devices again"),
            ExchangeError::NoMailbox => {
                Self::of(Kind::NotFound, &error).hint("add one: stronghold mailbox add PEER FOLDER")
            }
            ExchangeError::NotBuilt | ExchangeError::Place => Self::of(Kind::Unsupported, &error)
                .hint("nothing is lost; `stronghold mailbox add` names another place"),
            ExchangeError::NoLogin(_) => {
                Self::of(Kind::NotFound, &error).hint("nothing is lost; write both, or name another login with `mailbox add`")
            }
            ExchangeError::Store(StoreError::NoToken) => {
                Self::of(Kind::NotFound, &error).hint("nothing is lost; `stronghold mailbox add` with --login names them")
            }
            ExchangeError::Store(StoreError::NoSsh) => {
                Self::of(Kind::Unsupported, &error).hint("nothing is lost; install OpenSSH's client")
            }
            ExchangeError::Store(
                StoreError::Denied | StoreError::HostKey | StoreError::NoPlace | StoreError::Server(_),
            ) => {
                Self::of(Kind::Network, &error).hint("nothing is lost; try again later, or see `stronghold mailbox list`")
            }
            ExchangeError::Store(_) => Self::of(Kind::Storage, &error).hint(
                "nothing is lost; is the folder there, and may this user write it? See `stronghold mailbox list`",
            ),
            other => Self::of(Kind::Unexpected, &other),
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused(Refusal::NotPermitted) => Self::of(Kind::Denied, &error)
                .hint("ask for it there: stronghold grant THIS-DEVICE OPERATION --select SELECTION"),
            SessionError::Refused(Refusal::Busy) => Self::of(Kind::Busy, &error)
                .hint("it has as many sessions as it may have: try again in a while"),
            SessionError::Refused(Refusal::NotReady) => Self::of(Kind::NotReady, &error)
                .hint("the two are still paired: what is wrong is said by `stronghold serve` there; try again later"),
            SessionError::NotPermitted => Self::of(Kind::Denied, &error),
            SessionError::Deletions(_) => Self::deletions(&format!("{error}; nothing was changed")),
            SessionError::Refused(Refusal::Deletions) => {
                let message = "many records would be deleted or emptied at the peer; nothing was changed";
                Self::new(Kind::Deletions, message)
                    .hint("that is for its owner to allow: sync from there with --confirm-deletions, or answer its `serve`")
            }
            SessionError::Limits | SessionError::Refused(Refusal::Limits) => {
                Self::of(Kind::Limits, &error)
                    .hint("run it again: what is over a limit is then left out, by name")
            }
            SessionError::PeerMisbehaved(_) => {
                Self::of(Kind::Peer, &error).hint("nothing of the broken batch was kept")
            }
            SessionError::ApiMisuse | SessionError::Local => Self::of(Kind::Unexpected, &error),
            _ => Self::of(Kind::Peer, &error),
        }
    }
}

impl Failure {
    pub(crate) fn deletions(message: &str) -> Self {
        Self::new(Kind::Deletions, message)
            .hint("look with --dry-run; if it is what you want, say --confirm-deletions")
    }

    pub(crate) fn no_snapshot(path: &std::path::Path) -> Self {
        Self::new(Kind::NotFound, format!("there is no snapshot at {}", shown(path)))
            .hint("create one with `stronghold init`, or name another with --snapshot")
    }

    pub(crate) fn exists(path: &std::path::Path) -> Self {
        Self::new(Kind::Exists, format!("{} already exists; it was not touched", shown(path)))
            .hint("name another file")
    }

    /// Returns the failure of reading or writing a file that the command line names.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        let path = shown(path);
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                Self::new(Kind::NotFound, format!("{path}: there is no such file"))
                    .hint("nothing was changed; check its name")
            }
            std::io::ErrorKind::IsADirectory => {
                Self::usage(format!("{path} is a folder"), "nothing was changed; name a file")
            }
            _ => Self::new(Kind::Storage, format!("{path}: {error}"))
                .hint("nothing was changed; check permissions and space"),
        }
    }

    /// Returns the failure of finding out whether a snapshot exists.
    pub(crate) fn unknown(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Kind::Storage, format!("can't look for {}: {error}", shown(path))).hint(UNCHANGED)
    }

    /// Returns the failure of the terminal, stdin or stdout.
    pub(crate) fn terminal(error: &std::io::Error) -> Self {
        Self::new(Kind::Storage, format!("the terminal or a pipe failed: {error}"))
            .hint("what the command changed in the snapshot before that, it has changed")
    }
}

#[cfg(test)]
mod tests;
