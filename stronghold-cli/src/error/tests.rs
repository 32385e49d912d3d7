//! Tests each failure's code and exit code for scripts, and its message and hint for people.

use std::{io, path::PathBuf, time::Duration};

use stronghold_net::{FrameError, mailbox::StoreError};
use stronghold_snapshot::{
    Action, CommitError, CreateError, Damage, DecodeError, KdfWork, LockError, NoteError, Obstacle,
    OpenError, OpenFileError, ReloadError, RollbackError, SealError, StorageError, Unsupported,
    VaultFileError,
};
use stronghold_sync::{Losses, ParseLocationError, Timestamp, session::PeerMisbehaved};
use stronghold_vault::{ImportError, RandomnessError, RejectReason};

use super::*;

/// Asserts a failure's code and exit code, and that its hint contains `hint`, or is missing if
/// `hint` is empty.
#[track_caller]
fn assert_is(failure: impl Into<Failure>, kind: Kind, hint: &str) {
    let failure = failure.into();
    assert_eq!(failure.kind, kind, "{failure:?}");
    match &failure.hint {
        Some(said) => assert!(!hint.is_empty() && said.contains(hint), "{failure:?}"),
        None => assert!(hint.is_empty(), "{failure:?}"),
    }
    assert!(!failure.message.is_empty());
}

fn storage(action: Action, kind: io::ErrorKind) -> StorageError {
    StorageError { action, path: "vault".into(), source: kind.into() }
}

fn opening(source: OpenError) -> VaultFileError {
    OpenFileError::Snapshot { path: "vault".into(), source }.into()
}

#[test]
fn what_is_wrong_with_a_snapshot() {
    let denied = || storage(Action::Read, io::ErrorKind::PermissionDenied);
    let missing = OpenFileError::from(storage(Action::Read, io::ErrorKind::NotFound));
    assert_is(missing, Kind::NotFound, "create one");
    assert_is(OpenFileError::from(denied()), Kind::Storage, "as it was before");
    assert_is(opening(OpenError::NotASnapshot), Kind::NotASnapshot, "check the path");
    assert_is(
        opening(OpenError::NewerVersion { found: 9, supported: 1 }),
        Kind::NewerVersion,
        "update stronghold",
    );
    assert_is(opening(OpenError::WrongKey), Kind::WrongKey, "try again");
    assert_is(opening(OpenError::Damaged(Damage::Body)), Kind::Damaged, "restore it");
    assert_is(opening(OpenError::Unsupported(Unsupported::Suite(9))), Kind::Unsupported, "");
    assert_is(VaultFileError::Payload(DecodeError), Kind::Damaged, "update stronghold");
    let too_costly = OpenError::TooCostly { asked: KdfWork::ANY, allowed: KdfWork::FOREIGN };
    assert_is(opening(too_costly), Kind::TooCostly, "--allow-costly");
    let too_large = OpenFileError::TooLarge { path: "vault".into(), max_len: 1 };
    assert_is(too_large, Kind::FileTooLarge, "--allow-costly");
    let exchanged = RollbackError::Exchanged { path: "vault".into() };
    assert_is(VaultFileError::RolledBack(exchanged), Kind::Exchanged, "--accept-rollback");
    assert_is(VaultFileError::Notes(NoteError::NoFolder), Kind::RollbackNotes, "stronghold doctor");
    let seen = RollbackError::Older { path: "vault".into(), found: 1, seen: 2, seen_at: None };
    assert_is(VaultFileError::RolledBack(seen), Kind::RolledBack, "--accept-rollback");
    assert_is(VaultFileError::Reload(ReloadError::Open(denied().into())), Kind::Storage, "as it was before");
    assert_is(
        VaultFileError::Reload(ReloadError::RolledBack { found: 1, held: 2 }),
        Kind::RolledBack,
        "--accept-rollback",
    );
    assert_is(
        VaultFileError::Create(CreateError::Exists(PathBuf::from("vault"))),
        Kind::Exists,
        "name another file",
    );
    let create = CreateError::Commit(CommitError::from(storage(Action::Create, io::ErrorKind::StorageFull)));
    assert_is(VaultFileError::Create(create), Kind::Storage, "as it was before");
    assert_is(VaultFileError::Commit(CommitError::NotAsWritten), Kind::Storage, "as it was before");
    assert_is(VaultFileError::Lock(LockError::InUse { holder: Some(7) }), Kind::InUse, "wait for the other");
}

#[test]
fn what_keeps_a_snapshot_from_being_written() {
    let lock = LockError::Storage(storage(Action::Lock, io::ErrorKind::PermissionDenied));
    assert_is(CommitError::Lock(LockError::InUse { holder: None }), Kind::InUse, "wait for the other");
    assert_is(lock, Kind::Storage, "as it was before");
    assert_is(CommitError::RolledBack { found: 1, held: 2 }, Kind::RolledBack, "--accept-rollback");
    assert_is(CommitError::Stale { found: 2, held: 1 }, Kind::Storage, "as it was before");
    assert_is(CommitError::Replaced(OpenError::NotASnapshot), Kind::Storage, "as it was before");
    let in_the_way = LockError::InTheWay { path: ".vault.lock".into(), what: Obstacle::Link };
    assert_is(in_the_way, Kind::LockInTheWay, "who put it there");
    for (error, kind, hint) in [
        (SealError::SlotNotAtHand(2), Kind::SlotNotAtHand, "--keep-master-key"),
        (SealError::SlotExists(2), Kind::SlotExists, "--list"),
        (SealError::NoSuchSlot(2), Kind::Usage, "--list"),
        (SealError::NoSlots, Kind::Usage, "--add"),
        (SealError::LabelTooLong, Kind::Usage, ""),
    ] {
        assert_is(CommitError::Seal(error), kind, hint);
    }
    assert_is(CommitError::Seal(SealError::TooLarge), Kind::Storage, "as it was before");
    for action in [Action::Write, Action::Sync, Action::Replace] {
        assert_is(
            CommitError::from(storage(action, io::ErrorKind::StorageFull)),
            Kind::Storage,
            "as it was before",
        );
    }
    for action in [Action::Remove, Action::SyncFolder] {
        let after = CommitError::from(storage(action, io::ErrorKind::Other));
        assert_is(after, Kind::Storage, "the new state is in the file");
    }
}

#[test]
fn what_is_wrong_with_a_record_a_table_or_a_peer() {
    assert_is(ReadError::NotFound, Kind::NotFound, "stronghold list");
    assert_is(ReadError::NoSuchRevision, Kind::NotFound, "stronghold list");
    assert_is(ReadError::Damaged(Damaged), Kind::Damaged, "");
    assert_is(WriteError::NotFound, Kind::NotFound, "stronghold history");
    assert_is(WriteError::NoSuchRevision, Kind::NotFound, "stronghold history");
    assert_is(WriteError::TooLarge, Kind::TooLarge, "records of their own");
    assert_is(WriteError::Damaged(Damaged), Kind::Damaged, "");
    assert_is(WriteError::NoRandomness(RandomnessError::UNUSABLE), Kind::Unexpected, "");
    assert_is(FindPeerError::None, Kind::NotFound, "stronghold peers");
    assert_is(FindPeerError::Several, Kind::Ambiguous, "stronghold peers");
    let revoked = Revoked { name: "phone".into(), time: Timestamp::default() };
    assert_is(FindPeerError::Revoked(revoked), Kind::Revoked, "paired again");
    assert_is(MergeError::Deletions { deleted: 11, of: 20 }, Kind::Deletions, "--confirm-deletions");
    assert_is(MergeError::Export(ExportError::Damaged(Damaged)), Kind::Damaged, "");
    assert_is(MergeError::Export(ExportError::NotPermitted), Kind::Unexpected, "");
    let unacceptable = ImportError::Unacceptable(RejectReason::OverLimits);
    assert_is(MergeError::Import(unacceptable), Kind::Unexpected, "");
    // A failure about a record stays the same, but names the record.
    let named: Result<(), ReadError> = Err(ReadError::NotFound);
    let named = named.about(&"a/b/\u{1b}c").unwrap_err();
    assert_eq!(named.message, "no record at a/b/\\u{1b}c");
    assert_is(named, Kind::NotFound, "stronghold list");
    assert_eq!(ParseLocationError::TooLong.to_string().lines().count(), 1);
}

#[test]
fn what_is_wrong_between_two_devices() {
    assert_is(ChannelError::NotTrusted, Kind::Network, "pair again");
    assert_is(ChannelError::TurnedAway, Kind::Network, "stronghold serve");
    assert_is(ChannelError::Stranger, Kind::Network, "check the address");
    assert_is(ChannelError::WrongCard, Kind::Network, "pair them again");
    for cut in [ChannelError::Closed, ChannelError::Cut, ChannelError::TimedOut(Duration::from_secs(1))] {
        assert_is(cut, Kind::Network, "run it again");
    }
    assert_is(ChannelError::Io(io::ErrorKind::Other), Kind::Network, "");
    assert_is(PairingError::WrongCode, Kind::WrongCode, "burnt");
    assert_is(PairingError::Expired, Kind::ExpiredCode, "ten minutes");
    assert_is(PairingError::Declined, Kind::DeclinedByPeer, "said no");
    assert_is(PairingError::Impostor, Kind::Pairing, "another program");
    assert_is(PairingError::Channel(ChannelError::TurnedAway), Kind::Pairing, "stronghold pair");
    assert_is(PairingError::Channel(ChannelError::Cut), Kind::Network, "run it again");
    let nobody =
        DialError::Unreachable { address: "a".into(), source: io::ErrorKind::ConnectionRefused.into() };
    assert_is(nobody, Kind::Network, "--at or --join");
    assert_is(stronghold_sync::RedundantRule::Unasked(1), Kind::Void, "say --replace");
    assert_is(DialError::NotFound, Kind::Network, "stronghold serve");
    let no_search = stronghold_vault::RandomnessError::UNUSABLE;
    assert_is(DialError::Discovery(no_search.into()), Kind::Network, "say its address");
    assert_is(DialError::Peer(PeerError::Unpaired), Kind::Network, "pair the two");
    assert_is(DialError::Pairing(PairingError::WrongCode), Kind::WrongCode, "burnt");
    assert_is(PeerError::Channel(ChannelError::Cut), Kind::Network, "run it again");
    assert_is(PeerError::NothingToPush, Kind::Denied, "stronghold grant");
    assert_is(PeerError::Unpaired, Kind::Network, "pair the two");
    assert_is(ExchangeError::NoMailbox, Kind::NotFound, "mailbox add PEER FOLDER");
    assert_is(ExchangeError::Unpaired, Kind::Network, "pair the two");
    assert_is(ExchangeError::Store(StoreError::Name), Kind::Storage, "is the folder there");
    assert_is(ExchangeError::Host(HostError::Damaged(Damaged)), Kind::Damaged, "");
    assert_is(ExchangeError::NoRandomness(RandomnessError::UNUSABLE), Kind::Unexpected, "");
    assert_is(PeerError::NoRandomness(RandomnessError::UNUSABLE), Kind::Unexpected, "");
    assert_is(PeerError::Host(HostError::Home(opening(OpenError::WrongKey))), Kind::WrongKey, "try again");
    assert_is(HostError::Damaged(Damaged), Kind::Damaged, "");
    assert_is(HostError::Export(ExportError::Damaged(Damaged)), Kind::Damaged, "");
    assert_is(HostError::Export(ExportError::NotPermitted), Kind::Unexpected, "");
    let refused = |refusal| PeerError::Session(SessionError::Refused(refusal));
    assert_is(refused(Refusal::NotPermitted), Kind::Denied, "ask for it there");
    assert_is(refused(Refusal::Busy), Kind::Busy, "try again");
    assert_is(refused(Refusal::NotReady), Kind::NotReady, "still paired");
    assert_is(refused(Refusal::Deletions), Kind::Deletions, "--confirm-deletions");
    assert_is(refused(Refusal::ProtocolError), Kind::Peer, "");
    assert_is(SessionError::Deletions(Losses::default()), Kind::Deletions, "--confirm-deletions");
    assert_is(SessionError::NotPermitted, Kind::Denied, "");
    assert_is(
        SessionError::PeerMisbehaved(PeerMisbehaved::Unrequested),
        Kind::Peer,
        "nothing of the broken batch",
    );
    for own in [SessionError::ApiMisuse, SessionError::Local] {
        assert_is(own, Kind::Unexpected, "");
    }
}

#[test]
fn a_library_error_says_its_reason_too() {
    let wrong = opening(OpenError::WrongKey).to_string();
    assert_eq!(wrong, "vault: wrong passphrase or key");
    let denied = storage(Action::Read, io::ErrorKind::PermissionDenied).to_string();
    assert_eq!(denied, "can't read vault: permission denied");
    let replaced = CommitError::Replaced(OpenError::NotASnapshot).to_string();
    assert!(replaced.ends_with("a different file: not a sealed snapshot"), "{replaced}");
    assert!(CommitError::Seal(SealError::TooLarge).to_string().ends_with(": the content is too large"));
    let export = MergeError::Export(ExportError::Damaged(Damaged)).to_string();
    assert_eq!(export, "the other snapshot can't be read: a stored value is damaged");
}

#[test]
fn a_path_is_shown_and_obeyed_by_no_terminal() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let path = Path::new(OsStr::from_bytes(b"a\xff\x1b[2J\n/\xc3\xa9\xc2\x9b"));
    assert_eq!(shown(path), "a\\xff\\u{1b}[2J\\u{a}/\u{e9}\\u{9b}");
    assert_eq!(path_text(path), "a\\xff\u{1b}[2J\n/\u{e9}\u{9b}");
}

#[test]
fn what_a_peer_does_wrong_exits_with_9_and_what_it_forbids_with_7() {
    let session = |error: SessionError| Failure::from(PeerError::from(error));
    let channel = |error: ChannelError| Failure::from(PeerError::from(error));
    for misbehaviour in [PeerMisbehaved::Unrequested, PeerMisbehaved::OutOfOrder, PeerMisbehaved::BadBatch] {
        assert_eq!(session(misbehaviour.into()).kind.exit(), 9);
    }
    for misbehaved in [FrameError::Oversized(u32::MAX), FrameError::BadEncoding, FrameError::WrongRole] {
        assert_eq!(channel(misbehaved.into()).kind.exit(), 9);
    }
    for error in [ChannelError::Cut, ChannelError::Closed, ChannelError::NotTrusted] {
        assert_eq!(channel(error).kind.exit(), 9);
    }
    assert_eq!(session(SessionError::PeerIncompatible { ours: 1, theirs: 2 }).kind.exit(), 9);
    assert_eq!(session(SessionError::Refused(Refusal::ProtocolError)).kind.exit(), 9);
    assert_eq!(session(SessionError::Refused(Refusal::NotPermitted)).kind.exit(), 7);
    assert_eq!(Failure::from(PeerError::NothingToPush).kind.exit(), 7);
    for error in [SessionError::Deletions(Losses::default()), SessionError::Refused(Refusal::Deletions)] {
        assert_eq!(session(error).kind.exit(), 8);
    }
    assert_eq!(Failure::from(PairingError::WrongCode).kind.exit(), 9);
}

#[test]
fn each_way_in_which_a_pairing_fails_says_what_and_what_to_do() {
    let texts = [
        (PairingError::WrongCode, "the pairing code is wrong", "the code is burnt"),
        (PairingError::Expired, "the pairing code has expired", "good for ten minutes"),
        (PairingError::Declined, "the pairing was declined", "said no"),
        (PairingError::Impostor, "does not know the pairing code", "another program answers"),
        (ChannelError::TurnedAway.into(), "it is not pairing", "run `stronghold pair` there"),
    ];
    for (error, what, to_do) in texts {
        let failure = Failure::from(error);
        assert!(
            failure.message.contains(what) && failure.message.ends_with("nothing was changed"),
            "{failure:?}"
        );
        assert!(failure.hint.as_ref().is_some_and(|hint| hint.contains(to_do)), "{failure:?}");
        assert_eq!(failure.kind.exit(), 9);
    }
    let reach = Failure::from(DialError::NotFound);
    assert!(reach.hint.is_some_and(|hint| hint.contains("stronghold pair") && hint.contains("--join")));
}

#[test]
fn what_else_two_devices_say_has_its_hint() {
    let device = stronghold_sync::DeviceId::from_bytes([1; 32]);
    assert_is(ChannelError::WrongDevice(device), Kind::Network, "check the address");
    assert_is(ChannelError::WrongCard, Kind::Network, "pair them again");
    assert_is(ChannelError::Io(io::ErrorKind::Other), Kind::Network, "");
    assert_is(PairingError::SaidExpired, Kind::ExpiredCode, "good for ten minutes");
    assert_is(PairingError::SaidWrong, Kind::WrongCode, "compare it");
    assert_is(PairingError::BadName, Kind::Usage, "");
    assert_is(PairingError::Itself, Kind::Pairing, "");
    assert_is(PairingError::Channel(ChannelError::TurnedAway), Kind::Pairing, "run `stronghold pair` there");
    assert_is(PairingError::Channel(ChannelError::Cut), Kind::Network, "run it again");
    assert_is(DialError::NotFound, Kind::Network, "run `stronghold serve` there");
    assert_is(DialError::Peer(PeerError::Unpaired), Kind::Network, "pair the two devices again");
    assert_is(PeerError::NothingToPush, Kind::Denied, "stronghold grant PEER pull");
    assert_is(PeerError::Busy, Kind::Unexpected, "");
    for limits in [SessionError::Limits, SessionError::Refused(Refusal::Limits)] {
        assert_is(limits, Kind::Limits, "run it again");
    }
    assert_is(SessionError::Refused(Refusal::Busy), Kind::Busy, "try again in a while");
    assert_is(SessionError::Refused(Refusal::NotReady), Kind::NotReady, "still paired");
    assert_is(SessionError::Refused(Refusal::Deletions), Kind::Deletions, "for its owner to allow");
    assert_is(SessionError::Deletions(Losses::default()), Kind::Deletions, "--dry-run");
    assert_is(SessionError::Local, Kind::Unexpected, "");
    assert_is(SessionError::Stopped, Kind::Peer, "");
}

/// Does not show its source in its text.
#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] io::Error);

#[test]
fn a_cause_that_an_error_keeps_to_itself_is_told_and_no_other_twice() {
    assert_eq!(chain(&Outer(io::Error::other("inner"))), "outer: inner");
    assert_eq!(chain(&Outer(io::Error::other(Outer(io::Error::other("inner"))))), "outer: inner");
}

#[test]
fn an_error_names_its_causes_once() {
    let cause = std::io::Error::other("the cause");
    let error = std::io::Error::other(cause);
    assert_eq!(chain(&error), "the cause");
}

#[test]
fn a_file_that_is_missing_is_told_from_one_that_can_not_be_read() {
    let of = |kind: io::ErrorKind| Failure::file(std::path::Path::new("file"), &kind.into()).kind;
    assert_eq!(of(io::ErrorKind::NotFound), Kind::NotFound);
    assert_eq!(of(io::ErrorKind::PermissionDenied), Kind::Storage);
}

#[test]
fn a_pairing_that_was_not_taken_back_says_what_to_do() {
    let inner = Failure::new(Kind::InUse, "in use");
    let failure = Failure::from(Unsettled::TakeBack(inner));
    assert_is(failure, Kind::InUse, "pair again, or revoke it");
    let inner = Failure::new(Kind::InUse, "in use");
    assert_is(Failure::from(Unsettled::Save(inner)), Kind::InUse, "neither has the other");
}
