//! The process's environment: variables, and the platform's folders.

use std::path::PathBuf;

/// Variable by which a shell's script asks for completions.
pub(crate) const COMPLETION: &str = "STRONGHOLD_COMPLETE";

/// Returns a path from the environment. An empty variable counts as unset.
pub(crate) fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns whether an environment variable is set to anything but empty, `0`, `no` or `false`.
pub(crate) fn is_on(name: &str) -> bool {
    std::env::var_os(name)
        .is_some_and(|value| !["", "0", "no", "false"].iter().any(|off| value.eq_ignore_ascii_case(off)))
}

/// Returns the folders that the platform has for this command.
pub(crate) fn project_folders() -> Option<directories::ProjectDirs> {
    directories::ProjectDirs::from("", "", "stronghold")
}
