//! Why a host could not do its part, and whose fault that is.

use stronghold_snapshot::{ComplementError, HomeError, SealError};
use stronghold_sync::session::{Failure, Misbehaviour};
use stronghold_vault::{Damaged, ExportError, ImportError, Unacceptable};

/// Why this side could not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The file.
    #[error(transparent)]
    Home(#[from] HomeError),
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
    #[error("many records would be deleted or emptied")]
    Deletions,
    /// The peer's key is none.
    #[error("the other side's key is none")]
    BadKey,
    /// A value could not be opened.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl HostError {
    /// Tells whose fault it is.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Export(ExportError::NotPermitted) => Failure::NotPermitted,
            Self::Import(ImportError::Unacceptable(Unacceptable::NotPermitted)) => {
                Failure::Peer(Misbehaviour::NotPermitted)
            }
            Self::Import(ImportError::Unacceptable(Unacceptable::Withdrawn)) => Failure::NotPermitted,
            Self::Import(ImportError::Unacceptable(Unacceptable::TooManyHeads)) => Failure::Limits,
            Self::Import(ImportError::Unacceptable(Unacceptable::OverLimits)) => {
                Failure::Peer(Misbehaviour::OverLimits)
            }
            Self::Import(ImportError::Unacceptable(Unacceptable::NotAsked)) => {
                Failure::Peer(Misbehaviour::NotAsked)
            }
            Self::Complement(_) => Failure::Peer(Misbehaviour::BadBatch),
            Self::BadKey => Failure::Peer(Misbehaviour::BadKey),
            Self::Deletions => Failure::Deletions,
            _ => Failure::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use stronghold_snapshot::BadPayload;
    use stronghold_vault::WriteError;

    use super::*;

    #[test]
    fn each_failure_is_somebodys_fault() {
        let unacceptable = |why| HostError::Import(ImportError::Unacceptable(why));
        let peer = Failure::Peer;
        for (error, expected) in [
            (ExportError::NotPermitted.into(), Failure::NotPermitted),
            (ExportError::Damaged(Damaged).into(), Failure::Local),
            (unacceptable(Unacceptable::NotPermitted), peer(Misbehaviour::NotPermitted)),
            (unacceptable(Unacceptable::Withdrawn), Failure::NotPermitted),
            (unacceptable(Unacceptable::TooManyHeads), Failure::Limits),
            (unacceptable(Unacceptable::OverLimits), peer(Misbehaviour::OverLimits)),
            (unacceptable(Unacceptable::NotAsked), peer(Misbehaviour::NotAsked)),
            (HostError::Import(ImportError::Write(WriteError::TooLarge)), Failure::Local),
            (ComplementError::Signature.into(), peer(Misbehaviour::BadBatch)),
            (ComplementError::NotThisRequest.into(), peer(Misbehaviour::BadBatch)),
            (HostError::BadKey, peer(Misbehaviour::BadKey)),
            (HostError::Deletions, Failure::Deletions),
            (HostError::Damaged(Damaged), Failure::Local),
            (HomeError::Payload(BadPayload).into(), Failure::Local),
        ] {
            assert_eq!(error.failure(), expected, "{error}");
        }
    }
}
