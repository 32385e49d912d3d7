//! Mailboxes: places through which two devices synchronise that are never on at the same time.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use serde_json::{Value, json};
use stronghold_net::{
    BoxFuture, SessionHandler, SharedVault,
    mailbox::{Exchange, Exchanged, Oddity, is_address, open_store},
};
use stronghold_snapshot::now;
use stronghold_sync::{DeviceId, Pending, Plan, Timestamp, escape_untrusted, session::Changes};
use stronghold_vault::{Mailbox, Stronghold};

use crate::{
    context::{Context, described, runtime},
    error::{About, Failure, Kind, shown},
    output::counted,
    waiting::Waiting,
};

/// A day.
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[derive(Debug, Subcommand)]
pub(crate) enum MailboxAction {
    /// Exchange with a paired device through a folder that another program carries, or through a
    /// server. Do it on both.
    Add {
        /// Device's name here, or the beginning of its id.
        peer: String,
        /// A folder that both devices see, each under a path of its own: a synchronised folder, a
        /// share, a USB stick. Or a place on a server: `s3://BUCKET/FOLDER`, with
        /// `?region=REGION&endpoint=URL` where it is not Amazon's, the `https://` address of a
        /// folder on a WebDAV server, `sftp://USER@HOST:PORT/FOLDER` (`/~/FOLDER` in the user's
        /// home there), `dropbox:///FOLDER` or `gdrive:///FOLDER`.
        place: PathBuf,
        /// The login for the server, by its location here: the records `username` and `password`
        /// there. For S3 these are an access key and its secret; without it, the environment and
        /// files of Amazon's tools have them. For Dropbox and Google Drive they are an app's id and
        /// secret, and the record `token` has its refresh token. None for SFTP: `ssh` finds its
        /// keys.
        #[arg(long, value_name = "CLIENT/VAULT/TITLE")]
        login: Option<String>,
    },
    /// Give up the mailbox of a device, and delete what this device left there.
    Remove {
        /// Device's name here, or the beginning of its id.
        peer: String,
    },
    /// List the mailboxes, and when something was last heard through each.
    List,
}

pub(super) fn mailbox(context: &Context, action: Option<&MailboxAction>) -> Result<(), Failure> {
    match action {
        None | Some(MailboxAction::List) => list(context),
        Some(MailboxAction::Add { peer, place, login }) => add(context, peer, place, login.as_deref()),
        Some(MailboxAction::Remove { peer }) => remove(context, peer),
    }
}

/// Returns the absolute path of a folder that is there.
fn folder(folder: &Path) -> Result<String, Failure> {
    let folder = std::path::absolute(folder).map_err(|error| Failure::file(folder, &error))?;
    let place = folder.to_str().ok_or_else(|| {
        Failure::usage(
            format!("{} is not in UTF-8", shown(&folder)),
            "nothing was changed; name a folder whose name is",
        )
    })?;
    match std::fs::metadata(&folder) {
        Ok(found) if found.is_dir() => Ok(place.to_owned()),
        Ok(_) => Err(Failure::usage(
            format!("{} is not a folder", shown(&folder)),
            "nothing was changed; name a folder",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(Kind::NotFound, format!("{}: there is no such folder", shown(&folder)))
                .hint("nothing was changed; make it, or plug in the stick that has it"))
        }
        Err(error) => Err(Failure::file(&folder, &error)),
    }
}

/// Returns the address of a place on a server that can be used.
#[cfg(feature = "remote")]
fn server(address: &str, login: Option<&str>, stronghold: &Stronghold) -> Result<String, Failure> {
    use stronghold_net::mailbox::{ParsePlaceError, RemotePlace, open_remote};
    // The address may hold a password that does not belong there: it is not repeated.
    let not_usable = |error: ParsePlaceError| Failure::usage(format!("{error}"), "nothing was changed");
    let mut place = RemotePlace::parse(address).map_err(not_usable)?;
    if let Some(login) = login {
        place = place.with_login(login).map_err(not_usable)?;
    }
    let remote = open_remote(stronghold, &place, "00")?;
    let looked = runtime()?.block_on(remote.list(1));
    looked.map_err(|error| {
        Failure::new(Kind::Network, format!("{}: {error}", escape_untrusted(&place.to_string())))
            .hint("nothing was changed; is the address right, and the login?")
    })?;
    Ok(place.to_string())
}

/// Fails: this program was built without servers.
#[cfg(not(feature = "remote"))]
fn server(_address: &str, _login: Option<&str>, _stronghold: &Stronghold) -> Result<String, Failure> {
    let message = "that is on a server, and this program can use folders only";
    Err(Failure::usage(message, "nothing was changed; it was built without the feature `remote`"))
}

fn add(context: &Context, peer: &str, place: &Path, login: Option<&str>) -> Result<(), Failure> {
    let address = place.to_str().filter(|text| is_address(text));
    if address.is_none() && login.is_some() {
        return Err(Failure::usage("a folder needs no login", "nothing was changed; leave out --login"));
    }
    let path = if address.is_none() { Some(folder(place)?) } else { None };
    let mut home = context.open()?;
    let place = match (address, path) {
        (Some(address), _) => server(address, login, home.stronghold())?,
        (None, path) => path.unwrap_or_default(),
    };
    let (device, was) = home.update_as::<_, Failure>(|stronghold| {
        let (device, known) = stronghold.peers().find(peer).about(&peer)?;
        if known.rendezvous.is_none() {
            return Err(Failure::new(Kind::Network, "it was paired by a version that knew no mailboxes")
                .hint("pair the two devices again"));
        }
        Ok((device, stronghold.peers_mut().set_mailbox_place(&device, &place)))
    })?;
    let name = home.stronghold().peers().name_of(&device);
    let object = json!({ "device": device.to_string(), "name": name, "place": place, "was": was });
    context.output.result(&object, || {
        vec![format!("the mailbox of {} is {}", described(&name, &device), escape_untrusted(&place))]
    })?;
    context.output.note(
        "hint: `stronghold mailbox add` on the other device too; then `stronghold sync --mailbox` here, there, and so on",
    );
    Ok(())
}

fn remove(context: &Context, peer: &str) -> Result<(), Failure> {
    let home = SharedVault::new(context.open()?);
    let device = home.lock().stronghold().peers().find(peer).about(&peer)?.0;
    let (gone, left) = giving_up(&home, device, |stronghold| {
        stronghold.peers_mut().remove_mailbox(&device).ok_or_else(none)
    })?;
    let name = home.lock().stronghold().peers().name_of(&device);
    let object = json!({ "device": device.to_string(), "name": name, "place": gone.place });
    context
        .output
        .result(&object, || vec![format!("{} has no mailbox any more", described(&name, &device))])?;
    left.tell(context);
    Ok(())
}

/// Holds what stays in a mailbox that was given up.
pub(super) struct Left(Option<(String, Failure)>);

impl Left {
    /// Tells what could not be deleted.
    pub(super) fn tell(self, context: &Context) {
        let Some((place, failure)) = self.0 else { return };
        context.output.note(&format!(
            "note: letters that wait in {} could not be deleted: {}",
            escape_untrusted(&place),
            failure.message
        ));
        context.output.note("hint: delete them there, or the device can still take them");
    }
}

/// Makes a change after which a device has no mailbox here, then deletes this device's objects from
/// it: what the device has not fetched by then, it gets no more.
pub(super) fn giving_up<T>(
    home: &SharedVault,
    device: DeviceId,
    change: impl FnOnce(&mut Stronghold) -> Result<T, Failure>,
) -> Result<(T, Left), Failure> {
    runtime()?.block_on(async {
        let place = home.lock().stronghold().peers().mailbox(&device).map(|mailbox| mailbox.place.clone());
        let store = open_store(home, device).await.ok();
        let exchange = match &store {
            Some(store) => Exchange::new(home, &**store, device).await.ok(),
            None => None,
        };
        let changed = home.update(change)?;
        let withdrawn = match exchange {
            Some(exchange) => exchange.withdraw().await.map_err(Failure::from),
            None => Ok(0),
        };
        Ok((changed, Left(place.zip(withdrawn.err()))))
    })
}

fn none() -> Failure {
    Failure::new(Kind::NotFound, "there is no mailbox for it").hint("see `stronghold mailbox list`")
}

fn list(context: &Context) -> Result<(), Failure> {
    let home = context.open()?;
    let peers = home.stronghold().peers();
    let mailboxes: Vec<_> = peers.mailboxes().collect();
    let described: Vec<Value> = mailboxes
        .iter()
        .map(|(device, mailbox)| {
            json!({
                "device": device.to_string(),
                "name": peers.name_of(device),
                "place": mailbox.place,
                "heard": (mailbox.heard > Timestamp::default()).then_some(mailbox.heard),
                "waiting": mailbox.outbox.waiting().count(),
            })
        })
        .collect();
    context.output.result(&json!({ "mailboxes": described }), || {
        let line = |(device, mailbox): &(&DeviceId, &Mailbox)| {
            let (name, place) = (escape_untrusted(&peers.name_of(device)), escape_untrusted(&mailbox.place));
            let waiting = mailbox.outbox.waiting().count() as u64;
            let letters = if waiting > 0 { counted(waiting, "letter") } else { "nothing".into() };
            format!("{name}  {place}: {}, {letters} waiting for it", heard(mailbox.heard, now()))
        };
        mailboxes.iter().map(line).collect()
    })?;
    if mailboxes.is_empty() {
        context.output.nothing("no mailboxes: `stronghold mailbox add PEER FOLDER` adds one");
    }
    Ok(())
}

/// Says when something was last heard.
fn heard(time: Timestamp, now: Timestamp) -> String {
    if time == Timestamp::default() {
        return "never heard of yet".into();
    }
    match now.since(time).as_secs() / DAY.as_secs() {
        0 => "last heard of today".into(),
        1 => "last heard of yesterday".into(),
        days => format!("last heard of {days} days ago"),
    }
}

/// Returns the paired devices that have a mailbox, ordered by name.
pub(super) fn all(stronghold: &Stronghold) -> Vec<(DeviceId, String)> {
    let peers = stronghold.peers();
    let mut all: Vec<_> = peers.mailboxes().map(|(device, _)| (*device, peers.name_of(device))).collect();
    all.sort_by(|(_, one), (_, other)| one.cmp(other));
    all
}

/// Exchanges with a device through its mailbox, as a command of this side's person.
pub(super) async fn exchange(
    context: &Context,
    home: &SharedVault,
    device: DeviceId,
    confirms: bool,
) -> Result<Exchanged, Failure> {
    let name = home.lock().stronghold().peers().name_of(&device);
    let waiting = Waiting::begin(
        context.output,
        format!("looking into the mailbox of {}", escape_untrusted(&name)),
        None,
    );
    let store = open_store(home, device).await.map_err(|error| Failure::from(error).about(&name))?;
    let mut exchange = Exchange::new(home, &*store, device).await?;
    let ran = exchange.run(&mut Commanding { confirms, waiting }).await;
    let done = exchange.into_done();
    if let Err(error) = ran {
        // What was taken before is told all the same.
        if done.letters_taken > 0 {
            let received = done.outcome.summary.received;
            context.output.note(&format!("note: received {} before that", counted(received, "record")));
        }
        return Err(Failure::from(error).about(&name));
    }
    warn(context, &name, &done);
    Ok(done)
}

/// Tells the oddities of an exchange.
fn warn(context: &Context, name: &str, done: &Exchanged) {
    let name = escape_untrusted(name);
    for odd in &done.odd {
        context.output.note(&format!("note: {}", oddity(*odd, &name)));
    }
    if done.awaits_card {
        context.output.note(&format!(
            "note: nothing of {name} is there yet, so nothing was sent: run `stronghold sync --mailbox` there, then here again"
        ));
    } else if now().since(done.heard) > 7 * DAY && done.heard > Timestamp::default() {
        context.output.note(&format!("note: {name} was {}", heard(done.heard, now())));
    }
}

/// Describes an oddity, and what comes of it.
pub(super) fn oddity(odd: Oddity, name: &str) -> String {
    match odd {
        Oddity::RolledBack => {
            "the mailbox shows an older state than before: it was put back, or is not wholly copied yet"
                .into()
        }
        Oddity::AheadOfFile => {
            "the mailbox has objects of this device that its snapshot does not know: an older one was put back, \
             or a copy is in use too (see `stronghold identity --renew`); all is sent again"
                .into()
        }
        Oddity::TooManyThings => {
            "the mailbox has so much in it that not all is listed: something else fills it".into()
        }
        Oddity::DamagedCard => format!("a card of {name} can't be read: damaged, or not wholly copied yet"),
        Oddity::DamagedLetter => format!(
            "a letter of {name} can't be read: damaged, or not wholly copied yet; its content is asked for again"
        ),
        Oddity::Unacceptable(why) => format!("a letter of {name} is not taken: {why}"),
        Oddity::NeedsApproval => {
            format!("a letter of {name} waits, since a rule asks a person: run `stronghold sync --mailbox`")
        }
        Oddity::MoreToTake => "there is more to take: run it again".into(),
        Oddity::MoreToSend => format!("there is more to send, once {name} has taken some: run it again then"),
        _ => "there is something odd in the mailbox".into(),
    }
}

/// Answers for the person who gave the command: the command is the approval that a rule asks for.
struct Commanding {
    confirms: bool,
    waiting: Waiting,
}

impl SessionHandler for Commanding {
    fn approve(&mut self, _: DeviceId, _: &[Pending]) -> BoxFuture<bool> {
        Box::pin(std::future::ready(true))
    }

    fn confirm_losses(&mut self, _: DeviceId, _: &Plan) -> BoxFuture<bool> {
        Box::pin(std::future::ready(self.confirms))
    }

    fn on_received(&mut self, taken: Changes) {
        self.waiting.tell(format!("received a letter of {}", counted(taken.received, "record")));
    }

    fn on_sent(&mut self, entries: u64, of: u64) {
        self.waiting.tell(format!("sent {entries} of {of} entries"));
    }
}

/// Returns what went through a mailbox, for `--json`.
pub(super) fn object(done: &Exchanged) -> Value {
    let odd: Vec<&str> = done.odd.iter().map(|odd| word(*odd)).collect();
    json!({
        "letters_taken": done.letters_taken,
        "letters_sent": done.letters_sent,
        "waiting": done.waiting,
        "heard": (done.heard > Timestamp::default()).then_some(done.heard),
        "awaits_card": done.awaits_card,
        "others": done.others,
        "odd": odd,
    })
}

/// Returns the stable word of an oddity.
pub(super) fn word(odd: Oddity) -> &'static str {
    match odd {
        Oddity::RolledBack => "rolled_back",
        Oddity::AheadOfFile => "ahead_of_file",
        Oddity::TooManyThings => "too_many_things",
        Oddity::DamagedCard => "damaged_card",
        Oddity::DamagedLetter => "damaged_letter",
        Oddity::Unacceptable(_) => "unacceptable",
        Oddity::NeedsApproval => "needs_approval",
        Oddity::MoreToTake => "more_to_take",
        Oddity::MoreToSend => "more_to_send",
        _ => "other",
    }
}

/// Returns the result of an exchange as a line.
pub(super) fn line(done: &Exchanged, name: &str) -> String {
    let sum = &done.outcome.summary;
    let waiting = match done.waiting {
        0 => format!("nothing waits for {name}"),
        letters => format!(
            "{} for {name}",
            counted(letters, "letter") + if letters == 1 { " waits" } else { " wait" }
        ),
    };
    format!(
        "by mailbox: received {}, sent {}, deleted {}, {} in conflict; {waiting}",
        sum.received, sum.sent, sum.deleted, sum.conflicts
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sign_of_life_is_told_in_days() {
        let now = Timestamp::default().saturating_add(100 * DAY);
        for (time, expected) in [
            (Timestamp::default(), "never heard of yet"),
            (now, "last heard of today"),
            (now.saturating_add(DAY), "last heard of today"),
            (now.saturating_sub(DAY), "last heard of yesterday"),
            (now.saturating_sub(3 * DAY + Duration::from_millis(1)), "last heard of 3 days ago"),
        ] {
            assert_eq!(heard(time, now), expected);
        }
    }

    #[test]
    fn each_oddity_has_a_word_and_a_sentence() {
        let odd = [
            Oddity::RolledBack,
            Oddity::AheadOfFile,
            Oddity::TooManyThings,
            Oddity::DamagedCard,
            Oddity::DamagedLetter,
            Oddity::Unacceptable(stronghold_vault::RejectReason::OverLimits),
            Oddity::NeedsApproval,
            Oddity::MoreToTake,
            Oddity::MoreToSend,
        ];
        let words: std::collections::BTreeSet<&str> = odd.iter().map(|odd| word(*odd)).collect();
        assert!(words.len() == odd.len() && !words.contains("other"));
        let texts: std::collections::BTreeSet<String> = odd.iter().map(|odd| oddity(*odd, "phone")).collect();
        assert_eq!(texts.len(), odd.len());
    }
}
