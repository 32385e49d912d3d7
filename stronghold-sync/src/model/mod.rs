//! The model: ids, locations, shapes and snapshot stamps.

pub(crate) mod id;
pub(crate) mod location;
pub(crate) mod shape;
pub(crate) mod stamps;
pub(crate) mod time;
