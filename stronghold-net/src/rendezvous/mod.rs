//! How devices find and recognise each other: tags, the pre-authentication token and mDNS.

#[cfg(feature = "discovery")]
pub mod discovery;
#[cfg(not(feature = "discovery"))]
#[path = "no_discovery.rs"]
pub(crate) mod discovery;
pub(crate) mod preauth;
pub(crate) mod tags;
