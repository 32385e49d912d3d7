//! Decrypts a file with the user's own `gpg` or `age`: the file is the program's stdin, and the
//! text comes back over a pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use zeroize::Zeroizing;

use super::{LeftOutReason, ReadPassError};
use crate::input;

/// Maximum size of a decrypted entry, in bytes: that of a value.
const MAX_ENTRY: usize = 4 << 20;
/// Number of bytes kept of a program's messages.
const MAX_MESSAGES: u64 = 64 << 10;

/// A program that decrypts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program<'a> {
    Gpg,
    /// `age`, with the identities in a file.
    Age(&'a Path),
}

/// The text of an entry, or the reason why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decrypted {
    Text(Zeroizing<String>),
    No(LeftOutReason),
}

impl Program<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Gpg => "gpg",
            Self::Age(_) => "age",
        }
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.name());
        match self {
            // The status lines are the same in every language.
            Self::Gpg => command.args(["--batch", "--quiet", "--status-fd", "2", "--decrypt"]),
            Self::Age(identity) => command.args(["--decrypt", "--identity"]).arg(identity),
        };
        command
    }

    /// Returns the reason why a program did not decrypt, by its messages.
    fn reason(self, messages: &str) -> LeftOutReason {
        LeftOutReason::Unknown(match self {
            Self::Gpg if lacks_key(messages) => "gpg has no secret key for it",
            Self::Gpg => "gpg can't decrypt it",
            Self::Age(_) if messages.contains("no identity matched") => "it is for another identity of age",
            Self::Age(_) => "age can't decrypt it",
        })
    }
}

/// Decrypts a file.
///
/// # Errors
/// [`ReadPassError`] when the program can't be run, or its user told it not to go on.
pub(super) fn decrypt(program: Program<'_>, path: &Path) -> Result<Decrypted, ReadPassError> {
    // A pipe that came in place of the file is not waited for.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path) else {
        return Ok(Decrypted::No(LeftOutReason::Unknown("it can't be read")));
    };
    let no_program = |error| ReadPassError::NoProgram { program: program.name(), error };
    let (text, messages, status) = run(program.command(), file).map_err(no_program)?;
    if text.len() > MAX_ENTRY {
        return Ok(Decrypted::No(LeftOutReason::TooLarge));
    }
    if is_cancelled(&messages) {
        return Err(ReadPassError::Cancelled);
    }
    // gpg prints what is not encrypted, too.
    let is_decrypted = !matches!(program, Program::Gpg) || messages.contains("[GNUPG:] DECRYPTION_OKAY");
    if !status.success() || !is_decrypted {
        return Ok(Decrypted::No(program.reason(&messages)));
    }
    Ok(match std::str::from_utf8(&text) {
        Ok(text) => Decrypted::Text(Zeroizing::new(text.to_owned())),
        Err(_) => Decrypted::No(LeftOutReason::Unknown("it is not UTF-8 text")),
    })
}

/// Runs a program. Returns its output up to one byte over the limit, and the first of its messages.
fn run(mut command: Command, stdin: File) -> io::Result<(Zeroizing<Vec<u8>>, String, ExitStatus)> {
    let mut child =
        Running(command.stdin(Stdio::from(stdin)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
    let stderr = child.0.stderr.take();
    let messages = thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr).take(MAX_MESSAGES).read_to_end(&mut said);
            let _ = io::copy(&mut stderr, &mut io::sink());
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let text = match child.0.stdout.take() {
        Some(stdout) => input::to_the_end(stdout, MAX_ENTRY)?,
        None => Zeroizing::default(),
    };
    if text.len() > MAX_ENTRY {
        let _ = child.0.kill();
    }
    let status = child.0.wait()?;
    Ok((text, messages.join().unwrap_or_default(), status))
}

/// A child process, killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns whether gpg found the recipients, and had none of their keys.
fn lacks_key(messages: &str) -> bool {
    let has = |word: &str| messages.lines().any(|line| line.starts_with(&format!("[GNUPG:] {word} ")));
    has("NO_SECKEY") || has("ENC_TO") && !has("DECRYPTION_INFO") && !has("ERROR")
}

/// Returns whether gpg's user closed its question for the passphrase: errors 99 and 198 of
/// libgpg-error, in the lower 16 bits.
fn is_cancelled(messages: &str) -> bool {
    let errors = messages.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ERROR "));
    let mut codes = errors.filter_map(|error| error.split(' ').nth(1)?.parse::<u32>().ok());
    codes.any(|code| [99, 198].contains(&(code & 0xffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_s_status_tells_the_reason() {
        let no_key = "[GNUPG:] ENC_TO 1 1 0\n[GNUPG:] NO_SECKEY 0123456789ABCDEF\n";
        for (program, messages, expected) in [
            (Program::Gpg, no_key, "gpg has no secret key for it"),
            (Program::Gpg, "[GNUPG:] ENC_TO 1 18 0\n", "gpg has no secret key for it"),
            (
                Program::Gpg,
                "[GNUPG:] ENC_TO 1 18 0\n[GNUPG:] DECRYPTION_INFO 2 9 0\n",
                "gpg can't decrypt it",
            ),
            (
                Program::Gpg,
                "[GNUPG:] ENC_TO 1 18 0\n[GNUPG:] ERROR pkdecrypt_failed 1\n",
                "gpg can't decrypt it",
            ),
            (Program::Gpg, "", "gpg can't decrypt it"),
            (
                Program::Age(Path::new("i")),
                "age: error: no identity matched any",
                "it is for another identity of age",
            ),
            (Program::Age(Path::new("i")), "", "age can't decrypt it"),
        ] {
            assert_eq!(program.reason(messages).to_string(), expected);
        }
        for (line, expected) in [
            ("[GNUPG:] ERROR pkdecrypt_failed 83886179", true),
            ("[GNUPG:] ERROR pkdecrypt_failed 83886278", true),
            ("[GNUPG:] ERROR pkdecrypt_failed 83886089", false),
            ("gpg: ERROR x 99", false),
            ("[GNUPG:] ERROR x", false),
        ] {
            assert_eq!(is_cancelled(line), expected, "{line}");
        }
    }

    #[test]
    fn output_without_end_is_cut_and_its_program_ended() {
        let yes = |arguments: &[&str]| {
            let mut command = Command::new("yes");
            command.args(arguments);
            run(command, File::open("/dev/null").unwrap()).unwrap()
        };
        let (text, _, status) = yes(&[]);
        assert_eq!((text.len(), status.success()), (MAX_ENTRY + 1, false));
        let (text, messages, status) = yes(&["--no-such-option"]);
        assert!(text.is_empty() && !messages.is_empty() && !status.success());
        assert!(run(Command::new("/no/such/program"), File::open("/dev/null").unwrap()).is_err());
    }
}
