//! Builds what people install: `cargo xtask dist` leaves an archive, a Debian package, a bill of
//! materials and their checksums in `target/dist`.

mod bill;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::cargo::{build_stronghold_for_tests, build_stronghold_with, cargo_with, root};

/// Target whose binaries need no library of the system.
const STATIC: &str = "x86_64-unknown-linux-musl";
/// Shells with the names of their completion files.
const SHELLS: [(&str, &str); 4] = [
    ("bash", "stronghold"),
    ("zsh", "_stronghold"),
    ("fish", "stronghold.fish"),
    ("powershell", "stronghold.ps1"),
];
/// Folder that the archive and the package are made of; the command's manifest names it, too.
const STAGE: &str = "stage";
/// Files that go into the archive as they are in the repository.
const TEXTS: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "stronghold-cli/CHANGELOG.md"];

/// Builds everything. `--dev` takes the command that the tests have built, to try the packaging.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let is_dev = match options {
        [] => false,
        ["--dev"] => true,
        _ => return Err("usage: cargo xtask dist [--dev]".into()),
    };
    let commit = commit()?;
    // What people install can use mailboxes on servers, and connect across NATs.
    let mut options = vec!["--features", "remote,iroh"];
    if !is_dev && has_target(STATIC)? {
        options.extend(["--target", STATIC]);
    }
    let program = match is_dev {
        true => build_stronghold_for_tests()?,
        false => build_stronghold_with(&options, &[("STRONGHOLD_COMMIT", &commit)])?,
    };
    let out = root().join("target/dist");
    let _ = fs::remove_dir_all(&out);
    let name = format!("stronghold-{}-{}-linux", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let stage = out.join(STAGE);
    fill(&stage, &program)?;
    let archive = archive(&out, &name)?;
    let package = package(&out)?;
    let bill = out.join(format!("stronghold-{}.cdx.json", env!("CARGO_PKG_VERSION")));
    fs::write(&bill, bill::write(&commit)?)?;
    sums(&out, &[&archive, &package, &bill])?;
    println!("written to {}:", out.strip_prefix(root())?.display());
    print!("{}", fs::read_to_string(out.join("SHA256SUMS"))?);
    print!("the binary is linked with:\n{}", linked(&stage.join("stronghold"))?);
    Ok(())
}

/// Fills the folder.
fn fill(stage: &Path, program: &Path) -> Result<()> {
    for folder in ["man", "completions", "systemd"] {
        fs::create_dir_all(stage.join(folder))?;
    }
    let binary = stage.join("stronghold");
    fs::copy(program, &binary)?;
    if !program.starts_with(root().join("target/debug")) {
        run_in(stage, Command::new("strip").arg(&binary))?;
    }
    run_in(stage, Command::new(&binary).args(["man", "--output", "man"]))?;
    for (shell, file) in SHELLS {
        let script = output(stage, Command::new(&binary).args(["completions", shell]))?;
        fs::write(stage.join("completions").join(file), script)?;
    }
    for unit in fs::read_dir(root().join("stronghold-cli/systemd"))? {
        let unit = unit?;
        // In a package the command and the unit are where the system keeps them.
        let text = fs::read_to_string(unit.path())?.replace("%h/.cargo/bin/", "/usr/bin/");
        let text: String =
            text.lines().filter(|line| !line.starts_with("#   cp ")).flat_map(|line| [line, "\n"]).collect();
        fs::write(stage.join("systemd").join(unit.file_name()), text)?;
    }
    fs::copy(root().join("stronghold-cli/README.md"), stage.join("README.md"))?;
    for text in TEXTS {
        let name = Path::new(text).file_name().ok_or("a file without a name")?;
        fs::copy(root().join(text), stage.join(name))?;
    }
    Ok(())
}

/// Packs the filled folder as `name`. The same content gives the same bytes: no names, numbers and
/// times of the computer that packed it.
fn archive(out: &Path, name: &str) -> Result<PathBuf> {
    let (packed, time) = (out.join(format!("{name}.tar.gz")), format!("--mtime=@{}", time()?));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", &time]);
    tar.arg(format!("--transform=s,^{STAGE},{name},")).args(["--use-compress-program=gzip -n9", "-cf"]);
    run_in(out, tar.arg(&packed).arg(STAGE))?;
    Ok(packed)
}

/// Makes the Debian package, as `package.metadata.deb` of the command's manifest says.
fn package(out: &Path) -> Result<PathBuf> {
    let folder = out.to_str().ok_or("the path of the repository is not UTF-8")?;
    let time = time()?;
    let args = [
        "deb",
        "--package",
        "stronghold-cli",
        "--no-build",
        "--no-strip",
        "--quiet",
        "--offline",
        "--locked",
        "--output",
    ];
    cargo_with(&[&args[..], &[folder]].concat(), &[("SOURCE_DATE_EPOCH", &time)])
        .map_err(|error| format!("{error}; is it there? `cargo install cargo-deb`"))?;
    let made = fs::read_dir(out)?.flatten().map(|entry| entry.path());
    let mut made = made.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    made.next().ok_or_else(|| "cargo-deb made no package".into())
}

fn sums(out: &Path, files: &[&Path]) -> Result<()> {
    let names = files.iter().filter_map(|file| file.file_name());
    let sums = output(out, Command::new("sha256sum").args(names))?;
    Ok(fs::write(out.join("SHA256SUMS"), sums)?)
}

/// Returns the commit that is built, with a mark if files differ from it.
fn commit() -> Result<String> {
    let commit = output(root(), Command::new("git").args(["rev-parse", "--short=12", "HEAD"]))?;
    let changed =
        output(root(), Command::new("git").args(["status", "--porcelain", "--untracked-files=no"]))?;
    Ok(format!("{}{}", commit.trim(), if changed.trim().is_empty() { "" } else { "-changed" }))
}

/// Returns the time of the commit, in seconds since 1970.
fn time() -> Result<String> {
    Ok(output(root(), Command::new("git").args(["log", "-1", "--format=%ct"]))?.trim().to_owned())
}

fn has_target(target: &str) -> Result<bool> {
    let Ok(listed) = output(root(), Command::new("rustup").args(["target", "list", "--installed"])) else {
        return Ok(false);
    };
    Ok(listed.lines().any(|line| line.trim() == target))
}

/// Returns what the system has to have for a binary to run.
fn linked(binary: &Path) -> Result<String> {
    let listed = Command::new("ldd").arg(binary).output()?;
    match listed.status.success() {
        true => Ok(String::from_utf8_lossy(&listed.stdout).into_owned()),
        false => Ok("\tnothing: it is static\n".into()),
    }
}

fn run_in(folder: &Path, command: &mut Command) -> Result<()> {
    output(folder, command).map(drop)
}

fn output(folder: &Path, command: &mut Command) -> Result<String> {
    let done = command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    match done.status.success() {
        true => Ok(String::from_utf8(done.stdout)?),
        false => Err(format!("{command:?} failed").into()),
    }
}
