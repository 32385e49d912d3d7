//! Real servers for mailboxes, each started here with a folder and a port of its own, where it is
//! installed.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::common::Device;

pub(super) const USER: &str = "canary-user-3141";
pub(super) const PASSWORD: &str = "canary-password-2718";
/// The password's line of SHA-1, as Apache reads it.
const USERS: &str = "canary-user-3141:{SHA}nMQu+eRAV3xvjPXWYkDe1qhn9Q8=\n";

/// A way to start a server; `None` if it is not installed.
type Start = fn() -> Option<Server>;

/// All servers. Each knows a place, `place`, and nothing in it.
const SERVERS: [(&str, Start); 5] = [
    ("rclone, WebDAV", rclone_webdav),
    ("rclone, S3", rclone_s3),
    ("rclone, SFTP", rclone_sftp),
    ("moto, S3", moto),
    ("Apache, WebDAV", apache),
];

/// A server over a folder of its own, stopped on drop.
pub(super) struct Server {
    pub(super) name: &'static str,
    child: Child,
    folder: TempDir,
    /// The address of the place.
    pub(super) address: String,
    /// `true` if it takes a login of the vault, and refuses a wrong one.
    pub(super) checks_login: bool,
    /// The HTTP requests that it got.
    requests: Option<Arc<Mutex<Vec<String>>>>,
    /// The folder of the program `ssh` that reaches it.
    ssh: Option<PathBuf>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server and waits until it answers.
    fn start(command: &mut Command, folder: TempDir, port: u16) -> Option<Self> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let give_up = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the server ended: {command:?}");
            assert!(Instant::now() < give_up, "the server does not answer: {command:?}");
            thread::sleep(Duration::from_millis(50));
        }
        let (address, requests, ssh) = (String::new(), None, None);
        Some(Self { name: "", child, folder, address, checks_login: true, requests, ssh })
    }

    /// Counts the requests from here on, and names the place by the address that does.
    fn counted(mut self, port: u16, address: impl FnOnce(u16) -> String) -> Self {
        let requests = Arc::default();
        self.address = address(count(port, Arc::clone(&requests)));
        self.requests = Some(requests);
        self
    }

    /// Prepares a device for the server: a login that is right or wrong, or a program `ssh`.
    pub(super) fn let_in(&self, device: &Device, password: &str) {
        match &self.ssh {
            Some(folder) => device.look_in(folders(folder)),
            None => {
                device.put("wallet/web/cloud/username", USER);
                device.put("wallet/web/cloud/password", password);
            }
        }
    }

    /// Returns the options of `mailbox add` for it.
    pub(super) fn login(&self) -> &'static [&'static str] {
        if self.ssh.is_some() { &[] } else { &["--login", "wallet/web/cloud"] }
    }

    /// Returns the requests since the last call; `None` for a server that is not asked by HTTP.
    pub(super) fn requests(&self) -> Option<Vec<String>> {
        self.requests.as_ref().map(|requests| std::mem::take(&mut *requests.lock().unwrap()))
    }

    /// Returns the lengths of all objects that it keeps in files.
    pub(super) fn lengths(&self) -> Vec<u64> {
        let (mut folders, mut found) = (vec![files(&self.folder)], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push(entry.metadata().unwrap().len()),
                }
            }
        }
        found
    }

    /// Returns a file or folder of the server that is not in the place.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs a test on each server, or says that it is not installed.
pub(super) fn on_each(test: impl Fn(&Server)) {
    for (name, start) in SERVERS {
        match start() {
            Some(mut server) => {
                server.name = name;
                test(&server);
            }
            None => eprintln!("skipped: {name} is not installed"),
        }
    }
}

/// Starts the server that `ssh` reaches.
pub(super) fn by_ssh() -> Option<Server> {
    rclone_sftp()
}

/// Returns the folders of programs, with one more before them.
fn folders(first: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(first.to_owned()).chain(env::split_paths(&path))).unwrap()
}

/// Returns the folder in which a server keeps its files.
fn files(folder: &TempDir) -> PathBuf {
    folder.path().join("files")
}

/// Makes the folder of a server, with an empty place in it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(files(&folder).join("place")).unwrap();
    folder
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts `rclone serve KIND`.
fn rclone(kind: &str, args: &[&str], folder: TempDir) -> Option<(Server, u16)> {
    let port = free_port();
    let mut command = Command::new("rclone");
    command.args(["serve", kind]).arg(files(&folder)).args(args);
    command.args(["--addr", &format!("127.0.0.1:{port}"), "--config", "/dev/null", "--dir-cache-time", "0s"]);
    Some((Server::start(&mut command, folder, port)?, port))
}

fn rclone_webdav() -> Option<Server> {
    let (server, port) = rclone("webdav", &["--user", USER, "--pass", PASSWORD], folder())?;
    Some(server.counted(port, |port| format!("http://127.0.0.1:{port}/place")))
}

fn rclone_s3() -> Option<Server> {
    let (server, port) = rclone("s3", &["--auth-key", &format!("{USER},{PASSWORD}")], folder())?;
    Some(server.counted(port, |port| format!("s3://place/vaults?endpoint=http://127.0.0.1:{port}")))
}

/// Starts rclone for SFTP, with a key for it and one of its own, and a program `ssh` whose settings
/// name both.
fn rclone_sftp() -> Option<Server> {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for key in ["id", "host"] {
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &at(key)]);
        make.status().ok()?.success().then_some(())?;
    }
    let args = ["--key", &at("host"), "--authorized-keys", &at("id.pub")];
    let args = args.map(str::to_owned);
    let [known, settings, program] = ["known_hosts", "settings", "ssh"].map(at);
    let of_host = fs::read_to_string(at("host.pub")).unwrap();
    let mine = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\n",
        at("id")
    );
    let (mut server, port) = rclone("sftp", &args.each_ref().map(String::as_str), folder)?;
    fs::write(&known, format!("[127.0.0.1]:{port} {of_host}")).unwrap();
    fs::write(&settings, mine).unwrap();
    fs::write(&program, format!("#!/bin/sh\nexec /usr/bin/ssh -F {settings} \"$@\"\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    server.ssh = Some(server.folder.path().to_owned());
    server.address = format!("sftp://{USER}@127.0.0.1:{port}/place");
    server.checks_login = false;
    Some(server)
}

/// Starts moto, which keeps all in memory and checks no login.
fn moto() -> Option<Server> {
    let port = free_port();
    let mut command = Command::new("moto_server");
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let mut server = Server::start(&mut command, folder(), port)?;
    let mut making = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let host = format!("Host: 127.0.0.1:{port}");
    write!(making, "PUT /place HTTP/1.1\r\n{host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut made = String::new();
    making.read_to_string(&mut made).unwrap();
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    server.checks_login = false;
    Some(server.counted(port, |port| format!("s3://place/vaults?endpoint=http://127.0.0.1:{port}")))
}

/// Starts Apache with `mod_dav`, as one process.
fn apache() -> Option<Server> {
    const MODULES: &str = "/usr/lib/apache2/modules";
    let (folder, port) = (folder(), free_port());
    let at = folder.path().to_str().unwrap();
    let mut settings = format!(
        "ServerName localhost\nServerRoot {at}\nDefaultRuntimeDir {at}\nPidFile {at}/pid\n\
         ErrorLog {at}/error.log\nListen 127.0.0.1:{port}\nUser www-data\nGroup www-data\n"
    );
    for module in
        ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "dav", "dav_fs"]
    {
        settings += &format!("LoadModule {module}_module {MODULES}/mod_{module}.so\n");
    }
    settings += &format!(
        "DavLockDB {at}/locks/db\nDocumentRoot {at}/files\n<Directory {at}/files>\nDav On\nAuthType Basic\n\
         AuthName place\nAuthUserFile {at}/users\nRequire valid-user\n</Directory>\n"
    );
    fs::write(folder.path().join("settings"), settings).unwrap();
    fs::write(folder.path().join("users"), USERS).unwrap();
    fs::create_dir(folder.path().join("locks")).unwrap();
    // Started by root, it serves as another user.
    for (name, mode) in [("", 0o755), ("files", 0o777), ("files/place", 0o777), ("locks", 0o777)] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new("/usr/sbin/apache2");
    command.args(["-X", "-f", &format!("{at}/settings")]);
    let server = Server::start(&mut command, folder, port)?;
    Some(server.counted(port, |port| format!("http://127.0.0.1:{port}/place")))
}

/// Passes connections on to a port, and keeps the first line of each HTTP request. Returns the port
/// that takes the connections.
fn count(to: u16, requests: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (back, answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let requests = requests.clone();
            thread::spawn(move || pass(client, server, |bytes| keep_lines(bytes, &requests)));
            thread::spawn(move || pass(answers, back, Vec::clear));
        }
    });
    port
}

/// Copies a stream to its end, and shows what came since `seen` took something away.
fn pass(mut from: TcpStream, mut to: TcpStream, mut seen: impl FnMut(&mut Vec<u8>)) {
    let (mut part, mut kept) = ([0; 16_384], Vec::new());
    while let Ok(read @ 1..) = from.read(&mut part) {
        kept.extend_from_slice(&part[..read]);
        seen(&mut kept);
        if to.write_all(&part[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Takes the lines of requests away from bytes. A line may follow an object without a new line.
fn keep_lines(bytes: &mut Vec<u8>, requests: &Mutex<Vec<String>>) {
    const METHODS: [&str; 7] = ["GET /", "HEAD /", "PUT /", "POST /", "DELETE /", "PROPFIND /", "MKCOL /"];
    while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = bytes.drain(..=at).collect();
        let Some(line) = line.strip_suffix(b" HTTP/1.1\r\n") else { continue };
        let line = String::from_utf8_lossy(line);
        let from = METHODS.iter().filter_map(|method| line.rfind(method)).min().unwrap_or(0);
        requests.lock().unwrap().push(line[from..].to_owned());
    }
}
