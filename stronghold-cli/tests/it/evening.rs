//! A new user's evening, at the terminals of two devices: a database of another program moves in,
//! a second device joins, both edit, and a conflict is resolved. Shows what it takes of a person,
//! prompt by prompt, and how long the machine takes.
#![cfg(unix)]

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use expectrl::{Expect, session::OsSession};
use keepass::{Database, DatabaseKey};

use crate::common::{Device, at_terminal_with, end, run};

const LOGINS: usize = 1000;
const SOURCE_PASSPHRASE: &str = "the old database";
/// Far more than the 5 s that it is to take, as the machine may be busy.
const JOINING: Duration = Duration::from_secs(60);
const SAME_TWO: &str = "Does the other screen show the same two? [y/N] ";

/// A device whose owner types at its terminal, with everything that was shown there.
struct Person {
    device: Device,
    passphrase: &'static str,
    shown: String,
}

/// A command that runs at the terminal.
struct Typing<'a> {
    session: OsSession,
    shown: &'a mut String,
}

impl Person {
    fn new(passphrase: &'static str) -> Self {
        Self { device: Device::without_snapshot(), passphrase, shown: String::new() }
    }

    fn types(&mut self, args: &[&str]) -> Typing<'_> {
        let runtime = self.device.runtime();
        let runtime = runtime.parent().and_then(|folder| folder.to_str()).unwrap();
        let session = at_terminal_with(&self.device, args, &[("XDG_RUNTIME_DIR", runtime)]);
        Typing { session, shown: &mut self.shown }
    }

    /// Types a command that asks nothing, and must succeed; returns what it shows.
    #[track_caller]
    fn sees(&mut self, args: &[&str]) -> String {
        let (exit, said) = self.types(args).end();
        assert_eq!(exit, 0, "{args:?}: {said}");
        said
    }

    #[track_caller]
    fn writes(&mut self, location: &str, value: &str) {
        let mut put = self.types(&["put", location]);
        put.answers(&format!("Value for {location}: "), value);
        put.answers("Once more: ", value);
        put.succeeds();
    }

    #[track_caller]
    fn unlocks(&mut self) {
        let passphrase = self.passphrase;
        let mut unlock = self.types(&["unlock"]);
        unlock.answers("vault: ", passphrase);
        unlock.succeeds();
    }

    /// Checks that the passphrase was asked for once, and chosen once.
    #[track_caller]
    fn was_asked_once(&self) {
        let prompt = format!("Passphrase of {}: ", self.device.snapshot().display());
        let asked = self.shown.matches(&prompt).count();
        let chosen = self.shown.matches("New passphrase for ").count();
        assert_eq!((asked, chosen), (1, 1), "{}", self.shown);
        assert!(!self.shown.contains(self.passphrase));
    }

    fn entries(&mut self) -> String {
        self.sees(&["list", "--json"])
    }
}

impl Drop for Person {
    /// Ends the agent, which outlives the command that starts it.
    fn drop(&mut self) {
        let _ = run(&mut self.device.keyless(&["lock"]), b"");
    }
}

impl Typing<'_> {
    /// Waits for a text; returns what was shown before it.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let found =
            self.session.expect(text).unwrap_or_else(|error| panic!("{text}: {error}: {}", self.shown));
        self.shown.push_str(&String::from_utf8_lossy(found.before()));
        self.shown.push_str(text);
        String::from_utf8_lossy(found.before()).into_owned()
    }

    #[track_caller]
    fn answers(&mut self, prompt: &str, answer: &str) {
        self.until(prompt);
        self.session.send_line(answer).unwrap();
    }

    #[track_caller]
    fn end(self) -> (i32, String) {
        let (exit, said) = end(self.session);
        self.shown.push_str(&said);
        (exit, said)
    }

    #[track_caller]
    fn succeeds(self) -> String {
        let (exit, said) = self.end();
        assert_eq!(exit, 0, "{said}");
        said
    }
}

/// Makes a database of [`LOGINS`] logins in a group, by KeePassXC where it is installed.
fn database(device: &Device) -> PathBuf {
    let path = device.folder().join("logins.kdbx");
    let (mut text, typed) = (String::new(), format!("{SOURCE_PASSPHRASE}\n{SOURCE_PASSPHRASE}\n"));
    for number in 0..LOGINS {
        let field = |name: &str, value: &str| {
            format!("<String><Key>{name}</Key><Value>{value}{number}</Value></String>")
        };
        let fields = [field("Title", "site"), field("UserName", "anna"), field("Password", "old ")].concat();
        write!(text, "<Entry><UUID>{}</UUID>{fields}</Entry>", uuid(number)).unwrap();
    }
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><KeePassFile><Meta><Generator>KeePassXC</Generator></Meta>\
         <Root><Group><UUID>{}</UUID><Name>Root</Name><Group><UUID>{}</UUID><Name>web</Name>{text}</Group></Group>\
         </Root></KeePassFile>",
        uuid(LOGINS),
        uuid(LOGINS + 1)
    );
    let mut keepassxc = Command::new("keepassxc-cli");
    keepassxc.args(["import", "-p", "-t", "100", &device.file("logins.xml", text.as_bytes())]).arg(&path);
    match keepassxc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(mut running) => {
            running.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
            assert!(running.wait().unwrap().success());
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            let mut database = Database::new();
            let mut root = database.root_mut();
            let mut group = root.add_group();
            group.name = "web".into();
            for number in 0..LOGINS {
                let mut entry = group.add_entry();
                for (name, value) in [("Title", "site"), ("UserName", "anna"), ("Password", "old ")] {
                    entry.set_unprotected(name, format!("{value}{number}"));
                }
            }
            let mut file = std::fs::File::create(&path).unwrap();
            database.save(&mut file, DatabaseKey::new().with_password(SOURCE_PASSPHRASE)).unwrap();
        }
    }
    path
}

/// Returns the identifier of an entry in Base64, as KeePass writes it.
fn uuid(number: usize) -> String {
    format!("AAAAAAAAAAAAAA{number:06}AA==")
}

/// Prints past the harness, which keeps the output of a test that passes to itself.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The second device joins: `pair` at the first one, `clone --join` at the second.
#[track_caller]
fn joins(laptop: &mut Person, phone: &mut Person) -> Duration {
    let began = Instant::now();
    let mut pairing = laptop.types(&[
        "pair",
        "--name",
        "phone",
        "--listen",
        "127.0.0.1:0",
        "--grant",
        "import",
        "pull",
        "push",
        "delete",
    ]);
    pairing.until("code: ");
    let code = pairing.until("\r\n");
    pairing.until("stronghold clone --join ");
    let address = pairing.until("\r\n").split(' ').next().unwrap().to_owned();
    let passphrase = phone.passphrase;
    let mut cloning = phone.types(&["clone", "--join", &address, "--grant", "pull", "push", "delete"]);
    cloning.answers("(Enter: a generated one): ", passphrase);
    cloning.answers("Once more: ", passphrase);
    cloning.answers("Code or link: ", &code);
    cloning.answers(SAME_TWO, "y");
    pairing.answers(SAME_TWO, "y");
    let said = cloning.succeeds();
    assert!(said.contains("received 2,000") || said.contains("received 2000"), "{said}");
    pairing.succeeds();
    began.elapsed()
}

#[test]
fn a_new_users_evening() {
    let mut laptop = Person::new("seven horses at noon");
    let mut phone = Person::new("nine lamps at night");
    let logins = database(&laptop.device);

    let mut init = laptop.types(&["init", "--name", "laptop"]);
    init.answers("(Enter: a generated one): ", "seven horses at noon");
    init.answers("Once more: ", "seven horses at noon");
    init.succeeds();
    laptop.unlocks();
    let began = Instant::now();
    let mut import = laptop.types(&["import", logins.to_str().unwrap()]);
    import.answers("logins.kdbx: ", SOURCE_PASSPHRASE);
    let said = import.succeeds();
    let importing = began.elapsed();
    assert!(said.contains("imported 1000 credentials (1000 new, 0 changed), 0 unchanged"), "{said}");
    assert_eq!(laptop.sees(&["get", "imported/web/site7/password"]), "old 7\r\n");

    let joining = joins(&mut laptop, &mut phone);
    assert!(joining < JOINING, "{joining:?}");
    phone.unlocks();
    assert_eq!(phone.entries(), laptop.entries());

    // Each edits a record of its own, and both the same one.
    laptop.writes("imported/web/site1/password", "of the laptop");
    phone.writes("imported/web/site2/password", "of the phone");
    laptop.writes("imported/web/site3/password", "one");
    phone.writes("imported/web/site3/password", "another");
    let mut serving = laptop.types(&["serve", "--listen", "127.0.0.1:0"]);
    serving.until("listening on ");
    let address = serving.until(" as ");
    let began = Instant::now();
    let (exit, said) = phone.types(&["sync", "--at", &address]).end();
    let syncing = began.elapsed();
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("stronghold resolve"), "the next step is said: {said}");
    let said = phone.sees(&["conflicts"]);
    assert!(said.contains("imported/web/site3/password") && said.contains("laptop"), "{said}");
    let mut resolve = phone.types(&["resolve"]);
    let shown = resolve.until("keep [1-2]");
    let number = if shown.lines().any(|line| line.trim().starts_with("1  laptop")) { "1" } else { "2" };
    resolve.session.send_line(number).unwrap();
    let said = resolve.succeeds();
    assert!(said.contains("resolved 1 record"), "{said}");
    phone.sees(&["sync", "--at", &address]);
    serving.session.send("\u{3}").unwrap();
    serving.end();

    assert_eq!(laptop.entries(), phone.entries());
    for (location, value) in [("site1", "of the laptop"), ("site2", "of the phone"), ("site3", "one")] {
        for person in [&mut laptop, &mut phone] {
            let location = format!("imported/web/{location}/password");
            assert_eq!(person.sees(&["get", &location]), format!("{value}\r\n"));
        }
    }
    laptop.was_asked_once();
    phone.was_asked_once();
    let seconds = |time: Duration| time.as_secs_f64();
    tell(&format!(
        "a new user's evening: {LOGINS} logins imported in {:.1} s; the second device joined by two commands in \
         {:.1} s; a sync took {:.1} s; one passphrase prompt a device",
        seconds(importing),
        seconds(joining),
        seconds(syncing)
    ));
}
