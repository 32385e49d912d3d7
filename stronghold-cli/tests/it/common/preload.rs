//! Builds C libraries that sit between the real command and libc, loaded with `LD_PRELOAD`.
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles `tests/FILE` into a folder that stays until the tests end. Prints a message and returns
/// `None` if that is not possible.
pub(crate) fn preloaded(file: &str) -> Option<PathBuf> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        eprintln!("SKIPPED: {file} stands between command and libc on Linux with glibc only");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
    let name = format!("{}-{}.so", source.file_stem()?.to_str()?, std::process::id());
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    match compiler.arg("-ldl").output() {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("{file} does not compile: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            eprintln!("SKIPPED: no C compiler (`cc`) to build {file} with: {error}");
            None
        }
    }
}
