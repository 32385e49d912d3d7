//! Why a host could not do its part, and whose fault that is.

use stronghold_snapshot::{ComplementError, SealError, VaultFileError};
use stronghold_sync::{
    Losses,
    session::{PeerMisbehaved, TaskError},
};
use stronghold_vault::{Damaged, ExportError, ImportError, RejectReason};

/// Why this side could not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The file.
    #[error(transparent)]
    Home(#[from] VaultFileError),
    /// The policy, or a damaged value.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What the peer sent, or this side's memory.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The peer's sealed batch.
    #[error(transparent)]
    Complement(#[from] ComplementError),
    /// This side's sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An import would delete, empty or shorten many records here; a sync asks first.
    #[error("this would delete or empty {0}")]
    Deletions(Losses),
    /// The peer's key is none.
    #[error("the peer sent an invalid recipient key")]
    BadKey,
    /// The mailbox was removed meanwhile, or the device revoked.
    #[error("the mailbox was removed meanwhile, or the device revoked")]
    NoMailbox,
    /// A value could not be opened.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl HostError {
    /// Tells whose fault it is.
    pub(super) fn failure(&self) -> TaskError {
        match self {
            Self::Export(ExportError::NotPermitted) => TaskError::NotPermitted,
            Self::Import(ImportError::Unacceptable(RejectReason::NotPermitted)) => {
                TaskError::Peer(PeerMisbehaved::NotPermitted)
            }
            Self::Import(ImportError::Unacceptable(RejectReason::Withdrawn)) => TaskError::NotPermitted,
            Self::Import(ImportError::Unacceptable(RejectReason::TooManyHeads)) => TaskError::Limits,
            Self::Import(ImportError::Unacceptable(RejectReason::OverLimits)) => {
                TaskError::Peer(PeerMisbehaved::OverLimits)
            }
            Self::Import(ImportError::Unacceptable(RejectReason::Unrequested)) => {
                TaskError::Peer(PeerMisbehaved::Unrequested)
            }
            Self::Complement(_) => TaskError::Peer(PeerMisbehaved::BadBatch),
            Self::BadKey => TaskError::Peer(PeerMisbehaved::BadKey),
            Self::Deletions(losses) => TaskError::Deletions(*losses),
            _ => TaskError::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use stronghold_snapshot::DecodeError;
    use stronghold_vault::WriteError;

    use super::*;

    #[test]
    fn each_failure_is_somebodys_fault() {
        let unacceptable = |why| HostError::Import(ImportError::Unacceptable(why));
        let peer = TaskError::Peer;
        let losses = Losses { lost: 11, of: 20, there: false };
        for (error, expected) in [
            (ExportError::NotPermitted.into(), TaskError::NotPermitted),
            (ExportError::Damaged(Damaged).into(), TaskError::Local),
            (unacceptable(RejectReason::NotPermitted), peer(PeerMisbehaved::NotPermitted)),
            (unacceptable(RejectReason::Withdrawn), TaskError::NotPermitted),
            (unacceptable(RejectReason::TooManyHeads), TaskError::Limits),
            (unacceptable(RejectReason::OverLimits), peer(PeerMisbehaved::OverLimits)),
            (unacceptable(RejectReason::Unrequested), peer(PeerMisbehaved::Unrequested)),
            (HostError::Import(ImportError::Write(WriteError::TooLarge)), TaskError::Local),
            (ComplementError::Signature.into(), peer(PeerMisbehaved::BadBatch)),
            (ComplementError::NotThisRequest.into(), peer(PeerMisbehaved::BadBatch)),
            (HostError::BadKey, peer(PeerMisbehaved::BadKey)),
            (HostError::Deletions(losses), TaskError::Deletions(losses)),
            (HostError::Damaged(Damaged), TaskError::Local),
            (VaultFileError::Payload(DecodeError).into(), TaskError::Local),
        ] {
            assert_eq!(error.failure(), expected, "{error}");
        }
    }
}
