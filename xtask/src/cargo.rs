//! Calls cargo, and reads its metadata of the workspace.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::Result;

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Writes the results of a bench to `target/bench`, as JSON under `name`.
pub(crate) fn write_bench(name: &str, measured: &Value) -> Result<()> {
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(name).with_extension("json");
    std::fs::write(&file, format!("{measured:#}\n"))?;
    println!("written: {}", file.strip_prefix(root())?.display());
    Ok(())
}

/// Runs cargo at the root of the repository, with the output of this process.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    cargo_with(args, &[])
}

/// Runs cargo with additional environment variables.
pub(crate) fn cargo_with(args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let set: String = environment.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    println!("$ {set}cargo {}", args.join(" "));
    let status = command(args).envs(environment.iter().copied()).status()?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed", args.join(" ")).into()) }
}

/// Runs cargo; returns its output.
pub(crate) fn cargo_output(args: &[&str]) -> Result<String> {
    cargo_output_with(args, &[])
}

fn cargo_output_with(args: &[&str], environment: &[(&str, &str)]) -> Result<String> {
    let mut command = command(args);
    let output = command.envs(environment.iter().copied()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`cargo {}` failed", args.join(" ")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the output of `cargo metadata` for the workspace.
fn metadata() -> Result<Value> {
    let text = cargo_output(&["metadata", "--no-deps", "--format-version=1", "--locked"])?;
    Ok(serde_json::from_str(&text)?)
}

/// Runs an example that `cargo test` has built: `cargo run` would rebuild it for its one package.
pub(crate) fn built_example(name: &str, args: &[&str]) -> Result<()> {
    let metadata = metadata()?;
    let folder = metadata["target_directory"].as_str().ok_or("cargo metadata names no target folder")?;
    let program = Path::new(folder).join("debug/examples").join(name);
    println!("$ {} {}", program.display(), args.join(" "));
    let status = Command::new(program).args(args).current_dir(root()).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("the example `{name}` failed").into()) }
}

/// Returns the workspace's packages, as `cargo metadata` describes them.
pub(crate) fn packages() -> Result<Vec<Value>> {
    match metadata()?["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => Err("cargo metadata lists no packages".into()),
    }
}

/// Returns the names of a package's targets of one kind, such as `bench` or `test`.
pub(crate) fn targets<'a>(package: &'a Value, kind: &str) -> Vec<&'a str> {
    let targets = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_kind =
        |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()));
    targets.iter().filter(of_kind).filter_map(|target| target["name"].as_str()).collect()
}

/// Builds the `stronghold` command in release; returns its path.
pub(crate) fn build_stronghold() -> Result<PathBuf> {
    println!("building `stronghold` in release; the first time, this takes some minutes");
    build_stronghold_with(&[], &[])
}

/// Builds the `stronghold` command in release, with further options of cargo; returns its path.
pub(crate) fn build_stronghold_with(options: &[&str], environment: &[(&str, &str)]) -> Result<PathBuf> {
    let build = ["build", "--release", "--locked", "-p", "stronghold-cli"];
    built_stronghold(&[&build[..], options].concat(), environment)
}

/// Builds the `stronghold` command as the tests use it, with the whole workspace; returns its path.
pub(crate) fn build_stronghold_for_tests() -> Result<PathBuf> {
    built_stronghold(&["test", "--no-run", "--locked", "--workspace"], &[])
}

/// Builds a bench of a package, with the profile of benches, for callgrind; returns its path.
pub(crate) fn bench_for_callgrind(package: &str, name: &str) -> Result<PathBuf> {
    let build = ["bench", "--no-run", "--locked", "-p", package, "--bench", name];
    let apart = ["--target-dir", "target/callgrind"];
    // Without the C library, rustix reads a page that valgrind does not map.
    let flags = [("RUSTFLAGS", "--cfg rustix_use_libc")];
    built(&[&build[..], &apart].concat(), &flags, |message| message["target"]["name"] == name)
}

fn built_stronghold(build: &[&str], environment: &[(&str, &str)]) -> Result<PathBuf> {
    built(build, environment, |message| {
        let target = &message["target"];
        let is_bin = target["name"] == "stronghold" && target["kind"][0] == "bin";
        is_bin && message["profile"]["test"] == false
    })
}

/// Builds; returns the path of the executable whose message `is_it` accepts.
fn built(build: &[&str], environment: &[(&str, &str)], is_it: impl Fn(&Value) -> bool) -> Result<PathBuf> {
    let args = [build, &["--message-format=json-render-diagnostics"]].concat();
    let messages = cargo_output_with(&args, environment)?;
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().filter(|_| is_it(&message)).map(PathBuf::from)
    });
    executable.ok_or_else(|| "cargo built no executable".into())
}

fn command(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}
