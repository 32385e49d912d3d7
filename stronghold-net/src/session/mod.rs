//! A session over a channel: the driver, the host that works on a vault, and the handler that it
//! reports to.

pub(crate) mod binding;
pub(crate) mod driver;
pub(crate) mod handler;
pub(crate) mod host;
pub(crate) mod knowledge;
pub(crate) mod offload;
