//! An exchange through a mailbox: takes what the peer left there, leaves what the peer lacks, and
//! tells by a card what was taken.
//!
//! Whatever leaves is noted before, with its decision in the log. So a crash loses nothing: a
//! letter that was noted and is not in the store is missed there, and its heads are sent again.

mod cards;
mod contents;
mod deferred;
mod exchanged;
mod send;
mod take;

use std::sync::{Arc, Mutex, PoisonError};

use stronghold_snapshot::{SharedVault, VaultFileError, now};
use stronghold_sync::{
    Decision, DeviceId, Edition, Grant, Losses, Operation, Pending, Policy, Selection, Timestamp,
    mailbox::MAX_CHAIN, session::Verdict,
};
use stronghold_vault::{Identity, Mailbox, PendingStep, PublicIdentity, RandomnessError, Stronghold};
use thiserror::Error;
use tokio::time::timeout;

use self::contents::Contents;
pub use self::{
    deferred::Deferred,
    exchanged::{Exchanged, Oddity},
};
use super::{
    SealCardError, SealLetterError,
    names::PairKeys,
    store::{Folder, Store, StoreError, is_address},
};
#[cfg(feature = "remote")]
use super::{
    place::{Login, PlaceKind, RemotePlace},
    remote::Remote,
    sftp::Sftp,
};
use crate::session::{
    handler::SessionHandler,
    host::{HostError, audit_record},
};

/// Maximum number of names that are listed: far more than two devices leave there.
const MAX_NAMES: usize = 16_384;
/// Maximum number of letters that one exchange gets.
const MAX_GETS: u64 = 2 * MAX_CHAIN as u64;
/// Maximum number of bytes that one exchange gets, or puts, in letters. The next one goes on.
const MAX_BYTES: u64 = 256 << 20;
/// The selection under which the log has what went through a mailbox.
const SELECTION: &str = "mailbox";

/// An exchange with one paired device through their mailbox.
#[must_use = "nothing is exchanged before it runs"]
pub struct Exchange<'a> {
    pair: Arc<Pair>,
    store: &'a dyn Store,
    done: Exchanged,
    /// The step of the changes; a part of this run has it at a time.
    step: Arc<Mutex<PendingStep>>,
    approved: bool,
    /// The records lost by the letters of this run.
    losses: Losses,
    deferred: Option<&'a mut Deferred>,
}

/// An error that ended an exchange. What was done before stays.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// This device is not paired with the device, or was before pairings had a secret.
    #[error("this device is not paired with it")]
    Unpaired,
    /// There is no mailbox with the device.
    #[error("there is no mailbox for it")]
    NoMailbox,
    /// The mailbox is on a server, and this program can use folders only.
    #[error("this program was built without the feature `remote`, which a mailbox on a server needs")]
    NotBuilt,
    /// The address of the mailbox is not understood.
    #[error("the address of the mailbox is not understood")]
    Place,
    /// The vault has no username or no password at the location that the address names.
    #[error("the vault has no username or no password in the login {0}")]
    NoLogin(String),
    /// The store failed.
    #[error("the mailbox can't be used: {0}")]
    Store(#[from] StoreError),
    /// The file failed, or this device's keys.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The operating system returned no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
    /// The card can't be sealed.
    #[error(transparent)]
    Card(#[from] SealCardError),
    /// A letter can't be sealed.
    #[error(transparent)]
    Letter(#[from] SealLetterError),
}

impl From<VaultFileError> for ExchangeError {
    fn from(error: VaultFileError) -> Self {
        HostError::from(error).into()
    }
}

/// The two devices of a mailbox, as this one knows them.
struct Pair {
    home: SharedVault,
    device: DeviceId,
    name: String,
    own: Identity,
    peer: PublicIdentity,
    keys: PairKeys,
}

impl Pair {
    async fn open(home: &SharedVault, device: DeviceId) -> Result<(Self, Mailbox), ExchangeError> {
        let shared = home.clone();
        let opened = home.call(move |vault| {
            let stronghold = vault.refresh()?;
            let known = stronghold.peers().get(&device).ok_or(ExchangeError::Unpaired)?;
            let peer = known.public().map_err(|_| ExchangeError::Unpaired)?;
            let secret = known.rendezvous.as_ref().ok_or(ExchangeError::Unpaired)?;
            let own = stronghold.identity().duplicate();
            let keys = PairKeys::new(secret, &own.device(), &device);
            let mailbox = stronghold.peers().mailbox(&device).ok_or(ExchangeError::NoMailbox)?.clone();
            Ok((Self { home: shared, device, name: known.name.clone(), own, peer, keys }, mailbox))
        });
        opened.await
    }

    /// Returns the last direct session with the peer as this side knows it.
    fn seen(&self, stronghold: &Stronghold) -> Edition {
        let peers = stronghold.peers();
        let generation = peers.get(&self.device).map_or(0, |peer| peer.generation);
        Edition { generation, stamp: peers.own_stamp(&self.device) }
    }
}

/// The grants of this side's policy for the peer.
#[derive(Clone, Debug)]
struct Rulings {
    pull: Option<Grant>,
    push: Option<Grant>,
    delete: Option<Grant>,
}

impl Rulings {
    fn of(policy: &Policy, peer: &DeviceId, approved: bool, now: Timestamp) -> Self {
        let everything = Selection::everything();
        let [pull, push, delete] = [Operation::Pull, Operation::Push, Operation::Delete].map(|operation| {
            match policy.decide(peer, operation, &everything, now) {
                Decision::Allowed(grant) => Some(grant),
                Decision::Ask(pending) if approved => Some(pending.approve()),
                _ => None,
            }
        });
        Self { pull, push, delete }
    }
}

/// Opens the store of the mailbox that this device shares with a paired one: a folder, or with the
/// feature `remote` a place on a server, with the login that the vault holds.
///
/// # Errors
/// [`ExchangeError`], before any request to the store.
pub async fn open_store(home: &SharedVault, device: DeviceId) -> Result<Box<dyn Store>, ExchangeError> {
    let (pair, mailbox) = Pair::open(home, device).await?;
    let folder = pair.keys.folder();
    if !is_address(&mailbox.place) {
        return Ok(Box::new(Folder::new(mailbox.place, &folder)));
    }
    #[cfg(feature = "remote")]
    {
        let place = RemotePlace::parse(&mailbox.place).map_err(|_| ExchangeError::Place)?;
        home.call(move |vault| open_remote(vault.stronghold(), &place, &folder)).await
    }
    #[cfg(not(feature = "remote"))]
    Err(ExchangeError::NotBuilt)
}

/// Opens the folder of a pair in a place on a server, with the login of the vault that its address
/// names. No request is made, and no connection.
///
/// # Errors
/// [`ExchangeError::NoLogin`], or [`ExchangeError::Store`] if the place can't be used at all.
#[cfg(feature = "remote")]
pub fn open_remote(
    stronghold: &Stronghold,
    place: &RemotePlace,
    pair: &str,
) -> Result<Box<dyn Store>, ExchangeError> {
    if place.kind == PlaceKind::Sftp {
        return Ok(Box::new(Sftp::new(place, pair)));
    }
    let login = match place.login() {
        None => None,
        Some(location) => {
            let login = Login::read(stronghold, location);
            Some(login.ok_or_else(|| ExchangeError::NoLogin(stronghold_sync::escape_untrusted(location)))?)
        }
    };
    Ok(Box::new(Remote::new(place, login.as_ref(), pair)?))
}

impl<'a> Exchange<'a> {
    /// Prepares the exchange with a paired device through the store of their mailbox.
    ///
    /// # Errors
    /// [`ExchangeError::Unpaired`] or [`ExchangeError::NoMailbox`].
    pub async fn new(
        home: &SharedVault,
        store: &'a dyn Store,
        device: DeviceId,
    ) -> Result<Self, ExchangeError> {
        let (pair, mailbox) = Pair::open(home, device).await?;
        let step = PendingStep::served(&format!("mailbox: {}", pair.name), now());
        let waiting = mailbox.outbox.waiting().count() as u64;
        Ok(Self {
            pair: Arc::new(pair),
            store,
            done: Exchanged { waiting, heard: mailbox.heard, ..Exchanged::default() },
            step: Arc::new(Mutex::new(step)),
            approved: false,
            losses: Losses::default(),
            deferred: None,
        })
    }

    /// Leaves out letters that could not be taken, as an earlier exchange with the device in this
    /// process found, until something changes that decides it.
    pub fn with_deferred(mut self, deferred: &'a mut Deferred) -> Self {
        self.deferred = Some(deferred);
        self
    }

    /// Takes what the peer left, leaves what it lacks, and tells by a card what was taken. The
    /// handler is asked where a rule asks a person, or where a letter would lose many records.
    ///
    /// # Errors
    /// [`ExchangeError`]. [`done`](Self::done) has what was done before.
    pub async fn run(&mut self, handler: &mut dyn SessionHandler) -> Result<(), ExchangeError> {
        self.ask(handler).await?;
        let listing = self.store.list(MAX_NAMES).await?;
        self.done.outcome.summary.round_trips += 1;
        self.done.outcome.bytes_in += listing.names.iter().map(|name| name.len() as u64).sum::<u64>();
        // Letters that another process notes from here on are not in this listing, and not lost.
        let (_, before) = Pair::open(&self.pair.home, self.pair.device).await?;
        let contents = Contents::read(&listing, &self.pair.keys, before);
        self.done.others = contents.others;
        if !contents.is_complete {
            self.note(Oddity::TooManyThings);
        }
        let card = self.read_card(&contents).await?;
        self.take(&contents, handler).await?;
        if contents.is_ahead(card.as_ref()) {
            // A mailbox that was given up and made anew knows nothing of before either.
            if contents.state.card > 0 {
                self.note(Oddity::AheadOfFile);
            }
            self.forget_taken().await?;
        }
        self.send(&contents, card, handler).await?;
        self.tell(&contents).await?;
        self.clean(&contents).await
    }

    /// Deletes this device's objects from the store, also once the device is revoked: what it has
    /// not fetched by then, it gets no more. Returns their number.
    ///
    /// # Errors
    /// [`ExchangeError::Store`].
    pub async fn withdraw(self) -> Result<u64, ExchangeError> {
        let listing = self.store.list(MAX_NAMES).await?;
        let contents = Contents::read(&listing, &self.pair.keys, Mailbox::default());
        let own = contents.own_letters.values().chain(contents.own_cards.values());
        let mut deleted = 0;
        for name in own {
            self.store.delete(name).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Returns what was done so far.
    pub fn done(&self) -> &Exchanged {
        &self.done
    }

    /// Returns what was done.
    pub fn into_done(self) -> Exchanged {
        self.done
    }

    /// Asks the handler where only rules that ask a person cover what the peer may do. Records
    /// which rules have expired, so that they stay so if the clock is set back.
    async fn ask(&mut self, handler: &mut dyn SessionHandler) -> Result<(), ExchangeError> {
        let device = self.pair.device;
        let policy = self.pair.home.call(|vault| vault.refresh().map(|here| here.policy().clone())).await?;
        if policy.clone().observe_time(now()) {
            self.update(|stronghold| {
                stronghold.policy_mut().observe_time(now());
                Ok(())
            })
            .await?;
        }
        let everything = Selection::everything();
        let decide = |operation| match policy.decide(&device, operation, &everything, now()) {
            Decision::Ask(pending) => Some(pending),
            _ => None,
        };
        let pending: Vec<Pending> =
            [Operation::Pull, Operation::Push, Operation::Delete].into_iter().filter_map(decide).collect();
        if !pending.is_empty() {
            let asked = handler.approve(device, &pending);
            let limit = crate::Limits::default().approval_timeout;
            self.approved = timeout(limit, asked).await.unwrap_or(false);
        }
        Ok(())
    }

    fn note(&mut self, odd: Oddity) {
        if !self.done.odd.contains(&odd) {
            self.done.odd.push(odd);
        }
    }

    /// Gets an object. `None` for one that is gone, and for one that can't be an object of this
    /// pair, which is counted as `odd`.
    async fn get(&mut self, name: &str, limit: usize, odd: Oddity) -> Result<Option<Vec<u8>>, StoreError> {
        self.done.outcome.summary.round_trips += 1;
        match self.store.get(name, limit).await {
            Ok(object) => {
                self.done.outcome.bytes_in += object.as_ref().map_or(0, Vec::len) as u64;
                Ok(object)
            }
            Err(StoreError::TooLong(_) | StoreError::NotAFile) => {
                self.note(odd);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn put(&mut self, name: &str, object: Vec<u8>) -> Result<(), StoreError> {
        self.done.outcome.summary.round_trips += 1;
        self.done.outcome.bytes_out += object.len() as u64;
        self.store.put(name, object).await
    }

    /// Changes the Stronghold, as a part of this exchange's step, on a thread that may block.
    async fn update<T: Send + 'static>(
        &self,
        change: impl Fn(&mut Stronghold) -> Result<T, HostError> + Send + Sync + 'static,
    ) -> Result<T, HostError> {
        let (home, step) = (self.pair.home.clone(), self.step.clone());
        let is_in_use = |error: &HostError| matches!(error, HostError::Home(error) if error.is_in_use());
        let update = move || {
            let mut step = step.lock().unwrap_or_else(PoisonError::into_inner);
            home.try_update(Some(&mut step), |stronghold| change(stronghold))
        };
        self.pair.home.retry_while(is_in_use, update).await
    }

    fn told(&self, verdicts: &[Verdict], handler: &mut dyn SessionHandler) {
        verdicts.iter().for_each(|verdict| handler.on_decision(self.pair.device, verdict));
    }
}

/// Writes decisions into the log.
fn log(stronghold: &mut Stronghold, device: DeviceId, verdicts: &[Verdict]) {
    let records = verdicts.iter().map(|verdict| audit_record(device, now(), verdict.clone()));
    records.for_each(|record| stronghold.log_decision(record));
}

/// Returns the mailbox's state, which is gone once the device is revoked.
fn mailbox_of<'a>(stronghold: &'a mut Stronghold, device: &DeviceId) -> Result<&'a mut Mailbox, HostError> {
    stronghold.peers_mut().mailbox_mut(device).ok_or(HostError::NoMailbox)
}
