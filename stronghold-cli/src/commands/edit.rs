//! `edit`: changes a value in an editor, on a file that is in memory only.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use clap::Args;
use serde_json::json;
use stronghold_snapshot::{Access, now};
use stronghold_sync::{Location, RevisionId, escape_untrusted};
use stronghold_vault::{Labels, MAX_VALUE, ReadError};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::get;
use super::put::{no_lookalike, not_empty};
use crate::context::{Context, location, runtime};
use crate::error::{About, Failure, Kind, shown};
use crate::{input, terminal};

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Record to edit, as CLIENT/VAULT/RECORD; it need not exist.
    location: String,
}

pub(super) fn edit(context: &Context, args: &EditArgs) -> Result<(), Failure> {
    let at = location(&args.location)?;
    let editor = editor()?;
    let mut home = context.open_at(std::slice::from_ref(&at), Access::Write)?;
    let (before, value) = match home.stronghold().read(&at) {
        Err(ReadError::NotFound) => {
            no_lookalike(home.stronghold(), &at)?;
            (None, Zeroizing::new(Vec::new()))
        }
        read => {
            let read = read.about(&at)?;
            if read.conflict {
                get::conflict(context, &at.to_string(), true)?;
            }
            (Some((read.id, read.revision.labels)), read.revision.value)
        }
    };
    if std::str::from_utf8(&value).is_err() {
        let message = format!("{} is not text; nothing was changed", escape_untrusted(&at.to_string()));
        return Err(Failure::usage(message, "use `get --output FILE` and `put --file FILE`"));
    }
    let edited = {
        let scratch = Scratch::new(&value)?;
        run(&editor, &scratch.path())?;
        without_added_end(input::within(&scratch.path(), MAX_VALUE, "a value")?, &value)
    };
    if edited == value {
        context.output.note("nothing was changed");
        return context.output.result(&json!({ "location": at.to_string(), "changed": false }), Vec::new);
    }
    if edited.is_empty() {
        not_empty(context, &at, true)?;
    }
    home.refresh()?;
    let id = before.as_ref().map(|(id, _)| *id);
    confirm_replacement(context, home.stronghold().read(&at).ok().map(|read| read.id), id, &at)?;
    let labels = before.map_or_else(Labels::new, |(_, labels)| labels);
    let revision = home.update_as(|stronghold| stronghold.write(&at, &edited, labels, now()).about(&at))?;
    let object = json!({
        "location": at.to_string(), "changed": true, "revision": revision.to_string(), "size": edited.len(),
    });
    context.output.result(&object, Vec::new)
}

/// Asks whether to replace a value that was written while the editor was open.
fn confirm_replacement(
    context: &Context,
    is: Option<RevisionId>,
    was: Option<RevisionId>,
    at: &Location,
) -> Result<(), Failure> {
    if is == was {
        return Ok(());
    }
    let at = escape_untrusted(&at.to_string());
    context
        .confirm(&format!("{at} was changed meanwhile. Write yours over it? The other stays in its history."))
}

/// Removes the line end that an editor adds to a text without one.
fn without_added_end(mut edited: Zeroizing<Vec<u8>>, before: &[u8]) -> Zeroizing<Vec<u8>> {
    if edited.last() == Some(&b'\n') && before.last() != Some(&b'\n') {
        edited.pop();
    }
    edited
}

/// Returns the editor's command line, as `$VISUAL` or `$EDITOR` names it.
fn editor() -> Result<String, Failure> {
    if !terminal::exists() {
        return Err(Failure::usage(
            "there is no terminal to edit on",
            "use `stronghold put` with stdin or --file",
        ));
    }
    let named = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|command| !command.trim().is_empty()));
    let command = named.unwrap_or_else(|| "vi".into());
    let program = command.split_whitespace().next().unwrap_or_default();
    let leaves_no_notes = program_name(program).map_or("", |name| without_notes(&name));
    Ok(format!("{command}{leaves_no_notes} \"$1\""))
}

/// Returns the options with which an editor keeps no notes on what was edited, and no swap file,
/// elsewhere.
fn without_notes(program: &str) -> &'static str {
    if program.starts_with("vim") || program.starts_with("nvim") { " -n -i NONE" } else { "" }
}

/// Returns the file name of a program, behind links such as that of `vi`.
fn program_name(program: &str) -> Option<String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = match program.contains('/') {
        true => Some(PathBuf::from(program)),
        false => {
            std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.exists())
        }
    };
    Some(found?.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned())
}

/// Runs the editor. Signals to the terminal's programs are the editor's; one that ends this command
/// ends the editor first, and the file is removed.
fn run(editor: &str, path: &Path) -> Result<(), Failure> {
    let failed =
        |error: &std::io::Error| Failure::new(Kind::Unexpected, format!("can't run the editor: {error}"));
    let status = runtime()?.block_on(async {
        let _interrupts = signal(SignalKind::interrupt())?;
        let _quits = signal(SignalKind::quit())?;
        let (mut ended, mut hung_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let mut child = start(editor, path)?;
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            tokio::select! {
                _ = ended.recv() => return stop(&mut child),
                _ = hung_up.recv() => return stop(&mut child),
                _ = tick.tick() => {}
            }
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
        }
    });
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::new(Kind::Declined, format!("the editor ended with {status}; nothing was changed"))
                .hint("name another one in $VISUAL or $EDITOR"))
        }
        Err(error) => Err(failed(&error)),
    }
}

/// Starts the editor at the terminal, wherever stdin and stdout are redirected.
fn start(editor: &str, path: &Path) -> std::io::Result<Child> {
    let tty = || OpenOptions::new().read(true).write(true).open("/dev/tty").map(Stdio::from);
    let mut command = Command::new("sh");
    command.arg("-c").arg(editor).arg("sh").arg(path);
    command.stdin(tty()?).stdout(tty()?).stderr(tty()?).spawn()
}

fn stop(child: &mut Child) -> std::io::Result<ExitStatus> {
    let _ = child.kill();
    child.wait()
}

/// A folder in memory with one file in it, removed with all that an editor put beside it.
struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    fn new(value: &[u8]) -> Result<Self, Failure> {
        let parent = memory_folder().ok_or_else(|| {
            Failure::new(Kind::Unsupported, "no folder of this system is in memory only; nothing was changed")
                .hint("use `stronghold put`: its value comes from a prompt, stdin or a file")
        })?;
        let random = stronghold_vault::random::<8>()?;
        let folder = parent.join(format!("stronghold-{}", stronghold_sync::hex::text(&random)));
        let made = || {
            let mut builder = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&folder)
        };
        made().map_err(|error| Failure::file(&folder, &error))?;
        let scratch = Self { folder };
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = scratch.path();
        let written =
            options.write(true).create_new(true).open(&path).and_then(|mut file| file.write_all(value));
        written.map_err(|error| Failure::file(&path, &error))?;
        Ok(scratch)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("value")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            let _ = terminal::tell(&format!("warning: remove {} yourself: {error}", shown(&self.folder)));
        }
    }
}

/// Returns a folder whose files are in memory and on no disk.
fn memory_folder() -> Option<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
    let folders = own.into_iter().chain([PathBuf::from("/dev/shm")]);
    folders.into_iter().find(|folder| is_in_memory(folder))
}

#[cfg(target_os = "linux")]
fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    rustix::fs::statfs(folder)
        .is_ok_and(|found| [TMPFS, RAMFS].contains(&(found.f_type as u64 & 0xffff_ffff)))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_that_keep_notes_are_told_not_to() {
        for (program, expected) in [
            ("vim", " -n -i NONE"),
            ("vim.basic", " -n -i NONE"),
            ("nvim", " -n -i NONE"),
            ("nano", ""),
            ("ed", ""),
        ] {
            assert_eq!(without_notes(program), expected, "{program}");
        }
    }

    #[test]
    fn only_an_added_line_end_is_removed() {
        for (edited, before, expected) in [
            ("new\n", "old", "new"),
            ("new\n", "old\n", "new\n"),
            ("new\n\n", "old", "new\n"),
            ("new", "old\n", "new"),
            ("\n", "", ""),
            ("", "old", ""),
        ] {
            let left = without_added_end(Zeroizing::new(edited.as_bytes().to_vec()), before.as_bytes());
            assert_eq!(left.as_slice(), expected.as_bytes(), "{edited:?} {before:?}");
        }
    }

    #[test]
    fn the_file_is_in_memory_and_gone_afterwards() {
        if memory_folder().is_none() {
            return;
        }
        let scratch = Scratch::new(b"secret").unwrap();
        let path = scratch.path();
        assert!(is_in_memory(path.parent().unwrap()) && !is_in_memory(Path::new("/proc")));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!((mode & 0o777, fs::read(&path).unwrap()), (0o600, b"secret".to_vec()));
        fs::write(path.with_extension("swp"), b"secret").unwrap();
        drop(scratch);
        assert!(!path.parent().unwrap().exists());
    }
}
