//! Selections of records: patterns, scopes and mappings.

pub(crate) mod pattern;
pub(crate) mod selection;
