//! Cards: reads the peer's newest, and writes this device's where it would say something new.

use std::time::Duration;

use stronghold_snapshot::{RecipientSecretKey, now};
use stronghold_sync::{
    Edition, Timestamp,
    mailbox::{MAX_NUMBER, Point},
};
use stronghold_vault::{Mailbox, PeerCard, WEEK_KEYS, WeekKey, random};

use super::{Contents, Exchange, ExchangeError, Oddity, mailbox_of};
use crate::{
    mailbox::{CARD_LEN, Card, ObjectKind, ObjectName},
    session::host::HostError,
};

/// Age at which a key is replaced by another.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Maximum number of cards that one exchange gets, where the newest can't be read.
const MAX_CARDS: usize = 4;
/// Number of older cards of this device that may stay in the store: they are deleted together, and
/// a program that carries the store may be late with a new one.
const OLD_CARDS: usize = 3;

impl Exchange<'_> {
    /// Gets the peer's newest card, if it is newer than the known one.
    pub(super) async fn read_card(&mut self, contents: &Contents) -> Result<Option<PeerCard>, ExchangeError> {
        let known = contents.state.peer_card.as_ref().map_or(0, |card| card.number);
        let newest = contents.peer_cards.last_key_value().map(|(point, _)| point.number);
        if newest.is_some_and(|newest| newest < known) && contents.is_complete {
            self.note(Oddity::RolledBack);
        }
        let newer = contents.peer_cards.iter().rev().take_while(|(point, _)| point.number > known);
        for (point, name) in newer.take(MAX_CARDS) {
            let Some(object) = self.get(name, CARD_LEN, Oddity::DamagedCard).await? else { continue };
            match Card::open(&object, &self.pair.keys, name, &self.pair.peer) {
                Ok(card) if card.taken.number.max(card.damaged.number) <= MAX_NUMBER => {
                    let (standing, key, time) = (card.standing(), card.key.to_bytes(), card.time);
                    return Ok(Some(PeerCard { number: point.number, standing, key, time }));
                }
                _ => self.note(Oddity::DamagedCard),
            }
        }
        Ok(None)
    }

    /// Writes this device's card, if it would say something new, or its newest is not in the store.
    pub(super) async fn tell(&mut self, contents: &Contents) -> Result<(), ExchangeError> {
        let (newest, is_complete) = (contents.newest_own_card(), contents.is_complete);
        let pair = self.pair.clone();
        let seed = RecipientSecretKey::generate()?.to_bytes();
        let due = self
            .update(move |stronghold| {
                let seen = pair.seen(stronghold);
                let now = now();
                let mailbox = mailbox_of(stronghold, &pair.device)?;
                renew(mailbox, &seed, now);
                let card = card(mailbox, seen, now)?;
                let is_there = mailbox.card == newest || !is_complete && mailbox.card > newest;
                let is_told = mailbox.told == Some(card.standing());
                let number = now.as_millis().max(mailbox.card + 1).max(newest + 1);
                if is_told && is_there || number > MAX_NUMBER {
                    return Ok(None);
                }
                mailbox.card = number;
                mailbox.told = Some(card.standing());
                Ok(Some((number, card)))
            })
            .await?;
        let Some((number, card)) = due else { return Ok(()) };
        let point = Point { number, id: random()? };
        let name = ObjectName { writer: self.pair.keys.own(), kind: ObjectKind::Card, point };
        let name = self.pair.keys.seal_name(&name)?;
        let object = card.seal(&self.pair.keys, &name, &self.pair.own)?;
        Ok(self.put(&name, object).await?)
    }

    /// Deletes this device's letters that need not stay, and its cards once several are old.
    /// Nothing after a listing that was cut.
    pub(super) async fn clean(&mut self, contents: &Contents) -> Result<(), ExchangeError> {
        let device = self.pair.device;
        let state = self.pair.home.call(move |vault| vault.stronghold().peers().mailbox(&device).cloned());
        let Some(state) = state.await else { return Ok(()) };
        self.done.waiting = state.outbox.waiting().count() as u64;
        (self.done.heard, self.done.awaits_card) = (state.heard, state.peer_card.is_none());
        if !contents.is_complete {
            return Ok(());
        }
        let is_over = |point: &Point| state.peer_card.is_some() && state.outbox.is_over(point);
        let letters = contents.own_letters.iter().filter(|(point, _)| is_over(point));
        let older = contents.own_cards.iter().rev().skip(1);
        let older = older.filter(|_| contents.own_cards.len() > OLD_CARDS);
        for (_, name) in letters.chain(older) {
            self.done.outcome.summary.round_trips += 1;
            self.store.delete(name).await?;
        }
        Ok(())
    }
}

/// Replaces a key that is a week old, and forgets one of two weeks.
fn renew(mailbox: &mut Mailbox, seed: &[u8; 32], now: Timestamp) {
    let is_old = |key: &WeekKey, age| now.since(key.made) >= age;
    if mailbox.keys.first().is_none_or(|key| is_old(key, WEEK)) {
        mailbox.keys.insert(0, WeekKey::new(seed, now));
    }
    mailbox.keys.truncate(WEEK_KEYS);
    if mailbox.keys.last().is_some_and(|key| is_old(key, 2 * WEEK)) {
        mailbox.keys.truncate(1);
    }
}

/// Returns the card that tells the state of now.
fn card(mailbox: &Mailbox, seen: Edition, time: Timestamp) -> Result<Card, HostError> {
    let (taken, damaged) = mailbox.inbox.standing();
    let key = mailbox.keys.first().map(|key| RecipientSecretKey::from_bytes(key.seed()));
    let key = key.and_then(Result::ok).ok_or(HostError::BadKey)?.public();
    Ok(Card { taken, damaged, seen, time, key })
}

/// Notes the peer's card, unless a newer one is known.
pub(super) fn note_card(mailbox: &mut Mailbox, card: &PeerCard, now: Timestamp) {
    if mailbox.peer_card.as_ref().is_none_or(|known| known.number < card.number) {
        mailbox.peer_card = Some(card.clone());
        mailbox.heard = mailbox.heard.max(card.time.min(now));
    }
}
