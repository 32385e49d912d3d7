//! Places of the agents' sockets: one for each snapshot, in a folder of this user alone.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Name of the default snapshot's socket, which a service manager can open.
const DEFAULT: &str = "default";
/// Permissions that nobody but the owner may have on the folder.
const OTHERS: u32 = 0o077;

/// The place of one snapshot's agent.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The snapshot's path, with links followed.
    pub(crate) snapshot: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Place {
    /// Returns the place of the agent for the snapshot at `path`. `default` is the path of the
    /// default snapshot.
    ///
    /// # Errors
    /// [`io::Error`] if the snapshot can't be found.
    pub(crate) fn of(path: &Path, default: Option<&Path>) -> io::Result<Self> {
        let snapshot = path.canonicalize()?;
        let is_default =
            default.and_then(|path| path.canonicalize().ok()).is_some_and(|path| path == snapshot);
        let name = if is_default { DEFAULT.to_owned() } else { short_name(&snapshot) };
        Ok(Self { snapshot, socket: folder().join(format!("{name}.sock")) })
    }

    /// Returns the place of the snapshot's agent for SSH clients: the one that all shells may name,
    /// or one that ends with the process of this number.
    pub(crate) fn for_ssh(&self, process: Option<u32>) -> Self {
        let name = self.socket.file_stem().unwrap_or_default().to_string_lossy();
        let process = process.map(|number| format!("-{number}")).unwrap_or_default();
        // The end of the name tells it from sockets that speak the agent's own protocol.
        let socket = self.socket.with_file_name(format!("{name}-ssh{process}.socket"));
        Self { snapshot: self.snapshot.clone(), socket }
    }

    /// Returns the snapshot's name in requests: the SHA-256 of its path.
    pub(crate) fn name(&self) -> [u8; 32] {
        Sha256::digest(self.snapshot.as_os_str().as_bytes()).into()
    }

    /// Takes the lock of the place, which its agent holds as long as it runs. Returns `None` if
    /// another agent has it.
    ///
    /// # Errors
    /// [`io::Error`] if the folder is not this user's alone, or can't be written.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        let folder = folder();
        make_private(&folder)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.socket.with_extension("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Listens on the socket. The lock of the place is held, so what is there is left of an agent
    /// that was killed.
    ///
    /// # Errors
    /// [`io::Error`] if that can't be removed, or the folder can't be written.
    pub(crate) fn bind(&self) -> io::Result<UnixListener> {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&self.socket)?;
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    }
}

/// Returns the sockets of all agents of this user.
pub(crate) fn all_places() -> Vec<PathBuf> {
    let folder = folder();
    if check_private(&folder).is_err() {
        return Vec::new();
    }
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    sockets
}

/// Checks that a socket's folder is this user's alone.
///
/// # Errors
/// [`io::Error`] of kind `NotFound` if there is no folder, `PermissionDenied` if others may enter
/// it.
pub(crate) fn check_private(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let is_private = found.is_dir() && found.uid() == user() && found.mode() & OTHERS == 0;
    is_private
        .then_some(())
        .ok_or_else(|| io::Error::new(io::ErrorKind::PermissionDenied, "the folder is not this user's alone"))
}

/// Returns the id of the user that this process runs for.
pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn make_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => check_private(folder),
    }
}

/// Returns the folder of the sockets: in the user's runtime folder, else in the one for temporary
/// files.
fn folder() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match runtime {
        Some(runtime) => runtime.join("stronghold"),
        None => std::env::temp_dir().join(format!("stronghold-{}", user())),
    }
}

/// Returns 16 hexadecimal digits for a path.
fn short_name(path: &Path) -> String {
    Sha256::digest(path.as_os_str().as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
