//! How devices find and recognise each other: tags, the pre-authentication token and mDNS.

pub mod discovery;
pub(crate) mod preauth;
pub(crate) mod tags;
