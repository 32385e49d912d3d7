//! The kinds of failures, each with its stable word and its exit code for scripts.

/// Meanings of the exit codes, in order; the README lists them.
pub(crate) const EXIT_CODES: [&str; 11] = [
    "done",
    "unexpected",
    "usage",
    "not found",
    "wrong passphrase or key",
    "damaged snapshot",
    "in use by another process",
    "permission denied",
    "a conflict or a deletion needs a decision",
    "network or peer",
    "storage",
];

/// Kind of a failure. Several kinds share an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    // 1: unexpected.
    Agent,
    Clipboard,
    Unexpected,
    // 2: usage.
    Exists,
    SlotExists,
    TooLarge,
    TooWide,
    Usage,
    Void,
    // 3: not found.
    Ambiguous,
    NotFound,
    Revoked,
    // 4: wrong passphrase or key.
    WrongKey,
    // 5: damaged snapshot.
    Damaged,
    NewerVersion,
    NotASnapshot,
    Unsupported,
    // 6: in use by another process.
    InUse,
    // 7: permission denied.
    Denied,
    // 8: a conflict or a deletion needs a decision.
    ChangedSince,
    Conflict,
    ControlCharacters,
    Declined,
    Deletions,
    Empty,
    Exchanged,
    FileTooLarge,
    LeftOut,
    Limits,
    Lookalike,
    NeedsYes,
    RolledBack,
    SlotNotAtHand,
    TooCostly,
    Warnings,
    // 9: network or peer.
    Busy,
    DeclinedByPeer,
    ExpiredCode,
    Network,
    NotReady,
    Pairing,
    Peer,
    Unconfirmed,
    WrongCode,
    // 10: storage.
    LockInTheWay,
    RollbackNotes,
    Storage,
}

impl Kind {
    /// Returns the stable word, as JSON has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Clipboard => "clipboard",
            Self::Unexpected => "unexpected",
            Self::Exists => "exists",
            Self::SlotExists => "slot_exists",
            Self::TooLarge => "too_large",
            Self::TooWide => "too_wide",
            Self::Usage => "usage",
            Self::Void => "void",
            Self::Ambiguous => "ambiguous",
            Self::NotFound => "not_found",
            Self::Revoked => "revoked",
            Self::WrongKey => "wrong_key",
            Self::Damaged => "damaged",
            Self::NewerVersion => "newer_version",
            Self::NotASnapshot => "not_a_snapshot",
            Self::Unsupported => "unsupported",
            Self::InUse => "in_use",
            Self::Denied => "denied",
            Self::ChangedSince => "changed_since",
            Self::Conflict => "conflict",
            Self::ControlCharacters => "control_characters",
            Self::Declined => "declined",
            Self::Deletions => "deletions",
            Self::Empty => "empty",
            Self::Exchanged => "exchanged",
            Self::FileTooLarge => "file_too_large",
            Self::LeftOut => "left_out",
            Self::Limits => "limits",
            Self::Lookalike => "lookalike",
            Self::NeedsYes => "needs_yes",
            Self::RolledBack => "rolled_back",
            Self::SlotNotAtHand => "slot_not_at_hand",
            Self::TooCostly => "too_costly",
            Self::Warnings => "warnings",
            Self::Busy => "busy",
            Self::DeclinedByPeer => "declined_by_peer",
            Self::ExpiredCode => "expired_code",
            Self::Network => "network",
            Self::NotReady => "not_ready",
            Self::Pairing => "pairing",
            Self::Peer => "peer",
            Self::Unconfirmed => "unconfirmed",
            Self::WrongCode => "wrong_code",
            Self::LockInTheWay => "lock_in_the_way",
            Self::RollbackNotes => "rollback_notes",
            Self::Storage => "storage",
        }
    }

    /// Returns the exit code.
    pub(crate) fn exit(self) -> u8 {
        match self {
            Self::Agent | Self::Clipboard | Self::Unexpected => 1,
            Self::Exists | Self::SlotExists | Self::TooLarge | Self::TooWide | Self::Usage | Self::Void => 2,
            Self::Ambiguous | Self::NotFound | Self::Revoked => 3,
            Self::WrongKey => 4,
            Self::Damaged | Self::NewerVersion | Self::NotASnapshot | Self::Unsupported => 5,
            Self::InUse => 6,
            Self::Denied => 7,
            Self::ChangedSince
            | Self::Conflict
            | Self::ControlCharacters
            | Self::Declined
            | Self::Deletions
            | Self::Empty
            | Self::Exchanged
            | Self::FileTooLarge
            | Self::LeftOut
            | Self::Limits
            | Self::Lookalike
            | Self::NeedsYes
            | Self::RolledBack
            | Self::SlotNotAtHand
            | Self::TooCostly
            | Self::Warnings => 8,
            Self::Busy
            | Self::DeclinedByPeer
            | Self::ExpiredCode
            | Self::Network
            | Self::NotReady
            | Self::Pairing
            | Self::Peer
            | Self::Unconfirmed
            | Self::WrongCode => 9,
            Self::LockInTheWay | Self::RollbackNotes | Self::Storage => 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_have_each_word() {
        let schemas: serde_json::Value = serde_json::from_str(include_str!("../../schemas.json")).unwrap();
        let words = include_str!("kind.rs").lines().filter_map(|line| {
            line.trim().strip_prefix("Self::")?.split_once(" => \"")?.1.strip_suffix("\",")
        });
        assert_eq!(schemas["$defs"]["code"]["enum"], words.collect::<serde_json::Value>());
    }

    #[test]
    fn the_readme_says_what_each_exit_code_means() {
        let readme = include_str!("../../README.md").split_whitespace().collect::<Vec<_>>().join(" ");
        let codes: Vec<_> =
            EXIT_CODES.iter().enumerate().map(|(code, meaning)| format!("{code} {meaning}")).collect();
        assert!(readme.contains(&format!("Exit codes: {}.", codes.join(", "))), "{codes:?}");
    }
}
