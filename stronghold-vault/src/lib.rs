//! stub
mod audit;
mod identity;
mod locked;
mod peers;
mod record;
mod revision;
mod store;
mod stronghold;
mod transfer;

pub use audit::{AuditLog, Decided};
pub use identity::{BadPublicKey, BadSecretKey, BadSignature, Identity, NoRandomness, PublicIdentity};
pub use locked::refusal as locking_refusal;
pub use peers::{Peer, Peers, UnknownPeer};
pub use record::{Damaged, HISTORY};
pub use revision::{Entry, Labels, MAX_LABELS, MAX_VALUE, Revision};
pub use stronghold::{Listed, ReadError, Reading, Stronghold, Version, WriteError};
pub use transfer::{ExportError, ImportError, Report, Unacceptable};
