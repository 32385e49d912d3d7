//! Takes the peer's letters, in order and each once, under the rules for what the peer pushes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use stronghold_snapshot::{RecipientSecretKey, now};
use stronghold_sync::{
    DeviceId, EntryId, LocationId, Losses, Operation, Plan, Rule, Shape, SkipReason,
    mailbox::{MAX_NUMBER, Order, Point, Turn},
    session::{Changes, LetterPlan, LetterShapes, MAX_SEALED, Verdict},
};
use stronghold_vault::{Entry, ImportError, RulesHash, Stronghold, random};
use tokio::time::timeout;

use super::{
    Contents, Deferred, Exchange, ExchangeError, MAX_BYTES, MAX_GETS, Oddity, Pair, Rulings, SELECTION,
    deferred::Place, log, mailbox_of,
};
use crate::{
    LeftBehindReport,
    mailbox::Letter,
    session::{
        handler::SessionHandler,
        host::{HostError, work::import_checked},
    },
};

/// Maximum length of a letter: a sealed batch and the order.
pub(super) const MAX_LETTER: usize = MAX_SEALED as usize + (16 << 10);

/// The fate of a letter at its turn.
enum Taken {
    /// Another process took it, or its rules.
    NotNow,
    /// A person must confirm what it would lose.
    Confirm(Box<Plan>),
    /// A rule asks a person about a part of it.
    NeedsApproval,
    /// Its entries are here, but for those that are refused.
    Done(Box<Plan>, Changes, Vec<Verdict>),
}

/// The step after a letter.
#[derive(PartialEq, Eq)]
enum Next {
    Letter,
    Stop,
}

impl Exchange<'_> {
    /// Takes the letters of the peer that are due.
    pub(super) async fn take(
        &mut self,
        contents: &Contents,
        handler: &mut dyn SessionHandler,
    ) -> Result<(), ExchangeError> {
        self.ask_again().await?;
        self.deferred.iter_mut().for_each(|deferred| deferred.keep_those_in(contents));
        let (mut gets, mut bytes, mut damaged) = (0, 0, None);
        for (point, name) in &contents.peer_letters {
            let place = self.place().await?;
            let is_known = |deferred: &&mut Deferred| deferred.is_not_due(name, &place);
            if point.number <= place.taken.number || self.deferred.as_ref().is_some_and(is_known) {
                continue;
            }
            if self.deferred.as_ref().is_some_and(|known| known.stops(name, &place, &mut self.done)) {
                break;
            }
            if gets >= MAX_GETS || bytes >= MAX_BYTES {
                self.note(Oddity::MoreToTake);
                break;
            }
            gets += 1;
            let Some(object) = self.get(name, MAX_LETTER, Oddity::DamagedLetter).await? else {
                continue;
            };
            bytes += object.len() as u64;
            match self.open(&object, *point, name).await? {
                Opened::Due(order, entries) => {
                    if self.take_letter(Arc::new(order), Arc::new(entries), handler).await? == Next::Stop {
                        let is_of_it =
                            |odd: &Oddity| matches!(odd, Oddity::NeedsApproval | Oddity::Unacceptable(_));
                        let odd = self.done.odd.last().copied().filter(is_of_it);
                        let unconfirmed = self.done.unconfirmed;
                        if let Some(deferred) = &mut self.deferred {
                            deferred.note_stopped(name, &place, odd, unconfirmed);
                        }
                        break;
                    }
                }
                Opened::NotDue => {
                    self.deferred.iter_mut().for_each(|deferred| deferred.note_not_due(name, place));
                }
                Opened::Damaged => {
                    self.note(Oddity::DamagedLetter);
                    damaged.get_or_insert(*point);
                }
            }
        }
        self.note_damaged(damaged).await
    }

    /// Returns the state that decides whether it is a letter's turn.
    async fn place(&self) -> Result<Place, ExchangeError> {
        let pair = self.pair.clone();
        let place = self.pair.home.call(move |vault| {
            let stronghold = vault.stronghold();
            let mailbox = stronghold.peers().mailbox(&pair.device).ok_or(HostError::NoMailbox)?;
            let (taken, _) = mailbox.inbox.standing();
            Ok::<_, HostError>(Place {
                taken,
                seen: pair.seen(stronghold),
                generation: stronghold.generation(),
            })
        });
        Ok(place.await?)
    }

    /// Opens a letter, if it is its turn.
    async fn open(&self, object: &[u8], point: Point, name: &str) -> Result<Opened, ExchangeError> {
        let Ok(letter) = Letter::read(object, &self.pair.keys, name) else { return Ok(Opened::Damaged) };
        let order = letter.order().clone();
        let highest = order.after.iter().map(|point| point.number).max().unwrap_or(0);
        if order.point != point || highest > MAX_NUMBER {
            return Ok(Opened::Damaged);
        }
        let (pair, asked) = (self.pair.clone(), order.clone());
        let secrets = self.pair.home.call(move |vault| {
            let stronghold = vault.refresh()?;
            let mailbox = stronghold.peers().mailbox(&pair.device).ok_or(HostError::NoMailbox)?;
            let is_next = mailbox.inbox.turn(&asked, &pair.seen(stronghold)) == Turn::Next;
            let keys = mailbox.keys.iter().filter_map(|key| RecipientSecretKey::from_bytes(key.seed()).ok());
            Ok::<_, HostError>(is_next.then(|| keys.collect::<Vec<_>>()))
        });
        let Some(secrets) = secrets.await? else { return Ok(Opened::NotDue) };
        let (sender, own) = (&self.pair.peer, self.pair.own.device());
        let opened = secrets.iter().find_map(|secret| letter.open(secret, sender, own).ok());
        Ok(opened.map_or(Opened::Damaged, |entries| Opened::Due(order, entries)))
    }

    /// Takes one letter at its turn, asking a person where its losses need it.
    async fn take_letter(
        &mut self,
        order: Arc<Order>,
        entries: Arc<Vec<Entry>>,
        handler: &mut dyn SessionHandler,
    ) -> Result<Next, ExchangeError> {
        let mut is_confirmed = false;
        loop {
            let (pair, order, entries) = (self.pair.clone(), order.clone(), entries.clone());
            let (approved, before) = (self.approved, self.losses);
            let taken = self.update(move |stronghold| {
                let is_lost = |plan: &Plan| {
                    let mut losses = plan.losses_here();
                    losses.lost += before.lost;
                    losses.need_confirmation()
                };
                let letter = Incoming { pair: &pair, order: &order, entries: &entries, approved };
                letter.take(stronghold, |plan| is_confirmed || !is_lost(plan))
            });
            match taken.await {
                Ok(Taken::Confirm(plan)) => {
                    let asked = handler.confirm_losses(self.pair.device, &plan);
                    let limit = crate::Limits::default().approval_timeout;
                    is_confirmed = timeout(limit, asked).await.unwrap_or(false);
                    if !is_confirmed {
                        let losses = plan.losses_here();
                        self.done.unconfirmed =
                            Some(Losses { lost: losses.lost + self.losses.lost, ..losses });
                        return Ok(Next::Stop);
                    }
                }
                Ok(Taken::NotNow) => return Ok(Next::Letter),
                Ok(Taken::NeedsApproval) => {
                    self.note(Oddity::NeedsApproval);
                    return Ok(Next::Stop);
                }
                Ok(Taken::Done(plan, changes, verdicts)) => {
                    self.took(*plan, changes, &verdicts, handler);
                    return Ok(Next::Letter);
                }
                Err(HostError::Import(ImportError::Unacceptable(why))) => {
                    self.note(Oddity::Unacceptable(why));
                    return Ok(Next::Stop);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Counts and reports a letter that was taken.
    fn took(&mut self, plan: Plan, changes: Changes, verdicts: &[Verdict], handler: &mut dyn SessionHandler) {
        self.told(verdicts, handler);
        handler.on_received(changes);
        if !plan.not_taken.is_empty() {
            let names = plan.not_taken.iter().filter_map(|left| plan.names.get(&left.location));
            let untaken = names.cloned().collect();
            let not_taken = plan.not_taken.len() as u64;
            let left = LeftBehindReport { not_taken, untaken, ..LeftBehindReport::default() };
            handler.on_left_behind(self.pair.device, &left);
        }
        self.losses.lost += plan.losses_here().lost;
        self.done.letters_taken += 1;
        let (sum, outcome) = (&mut self.done.outcome.summary, &mut self.done.outcome.plan);
        sum.received += changes.received;
        sum.deleted += changes.deleted;
        sum.conflicts += changes.conflicts;
        sum.unchanged += plan.unchanged;
        outcome.changes_here.extend(plan.changes_here);
        outcome.not_taken.extend(plan.not_taken);
        outcome.beyond.extend(plan.beyond);
        outcome.names.extend(plan.names);
    }

    /// Notes a letter that can't be opened, so that the card asks for its content again.
    async fn note_damaged(&self, damaged: Option<Point>) -> Result<(), ExchangeError> {
        let Some(point) = damaged else { return Ok(()) };
        let device = self.pair.device;
        let noted = self.update(move |stronghold| {
            let inbox = &mut mailbox_of(stronghold, &device)?.inbox;
            if point.number > inbox.standing().0.number {
                inbox.note_damaged(point);
            }
            Ok(())
        });
        Ok(noted.await?)
    }

    /// Asks for all that the peer may give, also for what this device gave it: an older file may
    /// have been put back.
    pub(super) async fn forget_taken(&self) -> Result<(), ExchangeError> {
        let (device, id) = (self.pair.device, random()?);
        let asked = self.update(move |stronghold| {
            mailbox_of(stronghold, &device)?.inbox.ask_again(id);
            Ok(())
        });
        Ok(asked.await?)
    }

    /// Asks for all letters again, if entries were refused under rules that have changed since, or
    /// for too many heads of a record that has fewer now.
    async fn ask_again(&self) -> Result<(), ExchangeError> {
        let (device, id) = (self.pair.device, random()?);
        let asked = self.update(move |stronghold| {
            let rules = rules_hash(stronghold, &device);
            let is_other = |refused: &RulesHash| *refused != rules;
            let crowded = mailbox_of(stronghold, &device)?.crowded.clone();
            let is_crowded = |(at, heads): &(LocationId, u64)| {
                let now = stronghold.shapes_at(at).len() as u64;
                now > 0 && now >= *heads
            };
            let still: Vec<_> = crowded.iter().copied().filter(is_crowded).collect();
            let mailbox = mailbox_of(stronghold, &device)?;
            let has_room = still.len() < crowded.len();
            if mailbox.refused.take_if(|refused| is_other(refused)).is_some() || has_room {
                mailbox.crowded = still;
                mailbox.inbox.ask_again(id);
            }
            Ok(())
        });
        Ok(asked.await?)
    }
}

/// A letter of which the name belongs to this pair.
enum Opened {
    Due(Order, Vec<Entry>),
    NotDue,
    Damaged,
}

/// An opened letter that is taken.
struct Incoming<'a> {
    pair: &'a Pair,
    order: &'a Order,
    entries: &'a [Entry],
    approved: bool,
}

impl Incoming<'_> {
    /// Takes the letter if it is its turn: imports the entries that the rules allow, notes it as
    /// taken, and writes the log. Changes nothing if `may_lose` says so of the plan.
    fn take(
        &self,
        stronghold: &mut Stronghold,
        may_lose: impl Fn(&Plan) -> bool,
    ) -> Result<Taken, HostError> {
        let (device, now) = (self.pair.device, now());
        let seen = self.pair.seen(stronghold);
        if mailbox_of(stronghold, &device)?.inbox.turn(self.order, &seen) != Turn::Next {
            return Ok(Taken::NotNow);
        }
        let shapes = self.shapes(stronghold);
        let plan_if = |approved| {
            let rulings = Rulings::of(stronghold.policy(), &device, approved, now);
            shapes.plan(rulings.push, rulings.delete, SELECTION)
        };
        let LetterPlan { plan, expected, verdicts } = plan_if(self.approved);
        if !self.approved && plan_if(true).plan.take.len() > plan.take.len() {
            return Ok(Taken::NeedsApproval);
        }
        if !may_lose(&plan) {
            return Ok(Taken::Confirm(Box::new(plan)));
        }
        let mut wanted: BTreeSet<EntryId> = plan.take.iter().map(Shape::entry).collect();
        let is_wanted = |entry: &&Entry| wanted.remove(&entry_id(entry));
        let entries: Vec<Entry> = self.entries.iter().filter(is_wanted).cloned().collect();
        let (report, _) = import_checked(stronghold, device, &entries, &expected, now)?;
        // The peer holds each revision that it sends, those that are known here too.
        stronghold.record_disclosed(&device, shapes.letter.iter().map(|shape| shape.revision));
        log(stronghold, device, &verdicts);
        let rules = rules_hash(stronghold, &device);
        let mailbox = mailbox_of(stronghold, &device)?;
        mailbox.inbox.take(self.order.point);
        mailbox.heard = mailbox.heard.max(now);
        if plan.not_taken.iter().any(|left| left.why.is_of_rules()) {
            mailbox.refused = Some(rules);
        }
        for left in plan.not_taken.iter().filter(|left| left.why == SkipReason::TooManyHeads) {
            let heads = shapes.own.iter().filter(|shape| shape.location == left.location).count() as u64;
            mailbox.note_crowded(left.location, heads);
        }
        let changes =
            Changes { received: report.received, deleted: report.deleted, conflicts: report.conflicts };
        Ok(Taken::Done(Box::new(plan), changes, verdicts))
    }

    /// Describes the letter's entries, and this side's heads of their records.
    fn shapes(&self, stronghold: &Stronghold) -> LetterShapes {
        let mut letter: Vec<Shape> =
            self.entries.iter().map(|entry| entry.revision.shape(&entry_id(entry))).collect();
        letter.sort_by_key(Shape::entry);
        letter.dedup_by_key(|shape| shape.entry());
        let names = self.entries.iter().map(|entry| (entry.location.id(), entry.location.clone()));
        let names: BTreeMap<LocationId, _> = names.collect();
        let own: Vec<Shape> = names.keys().flat_map(|location| stronghold.shapes_at(location)).collect();
        let mut shapes =
            LetterShapes { letter, names, own, readable: stronghold.readable(), ..LetterShapes::default() };
        let crowded = shapes.own.iter().filter(|shape| shapes.is_crowded(&shape.location));
        let delivered = crowded.map(Shape::entry);
        let delivered = delivered.filter(|entry| stronghold.is_delivered_by(&self.pair.device, entry));
        shapes.delivered = delivered.collect();
        shapes
    }
}

fn entry_id(entry: &Entry) -> EntryId {
    EntryId { location: entry.location.id(), revision: entry.revision.id() }
}

/// Hashes the rules by which a device may write or delete here.
fn rules_hash(stronghold: &Stronghold, device: &DeviceId) -> RulesHash {
    let is_of_taking = |rule: &Rule| {
        rule.operations.contains(&Operation::Push) || rule.operations.contains(&Operation::Delete)
    };
    let mut hash = Sha256::new_with_prefix(b"stronghold/mailbox/rules/v1");
    for (number, rule) in stronghold.policy().rules_of(device).filter(|(_, rule)| is_of_taking(rule)) {
        hash.update(format!(
            "{number} {:?} {} {:?} {}\n",
            rule.operations, rule.selection, rule.expires, rule.ask
        ));
    }
    let hash = hash.finalize();
    RulesHash(std::array::from_fn(|at| hash[at]))
}
