//! Leaves letters with what the peer lacks and the policy lets it have at this moment.

use std::collections::{BTreeSet, VecDeque};

use stronghold_snapshot::{RecipientPublicKey, now};
use stronghold_sync::{
    DeviceId, Edition, EntryId, Grant, Operation, RevisionId, Scope, Selection, Shape, SkipReason, Skipped,
    mailbox::{Order, Outbox},
    message::Volume,
    session::{BATCH_BYTES, BATCH_ENTRIES, Verdict},
};
use stronghold_vault::{Entry, ExportError, PeerCard, Stronghold, random};

use super::{
    Contents, Exchange, ExchangeError, MAX_BYTES, Oddity, Pair, Rulings, SELECTION, cards::note_card, log,
    mailbox_of,
};
use crate::{
    mailbox::{Letter, ObjectKind, ObjectName},
    session::{handler::SessionHandler, host::HostError},
};

/// The heads of a run, in the order of their ids.
#[derive(Clone, Debug, Default)]
struct Due {
    heads: VecDeque<Shape>,
    /// Heads to send again that a rule holds back.
    held_back: Vec<RevisionId>,
    /// Records that the peer lacks, where no rule lets it have any.
    not_given: Vec<Skipped>,
    grant: Option<Grant>,
    /// The highest number of a letter when this run noted one last: another process that noted
    /// one since has its own run.
    sent: u64,
}

/// Entries that are opened for a letter, and their shapes.
type Opened = (Vec<Entry>, Vec<Shape>);

/// A letter that is noted and must be put now.
struct Outgoing {
    order: Order,
    entries: Vec<Entry>,
    card: PeerCard,
    verdict: Verdict,
}

/// The state of a run after the note of a letter.
enum Noted {
    /// No card of the peer was ever read.
    NoCard,
    /// Nothing is left.
    All,
    /// This letter must be put.
    Letter(Box<Outgoing>, Due),
    /// The rest must wait: the chain is full, a rule changed, or another process sends too.
    Later,
}

impl Exchange<'_> {
    /// Leaves letters with what the peer lacks.
    pub(super) async fn send(
        &mut self,
        contents: &Contents,
        card: Option<PeerCard>,
        handler: &mut dyn SessionHandler,
    ) -> Result<(), ExchangeError> {
        let Some(mut due) = self.read(contents, card).await? else { return Ok(()) };
        self.done.outcome.plan.not_given = std::mem::take(&mut due.not_given);
        let (all, mut bytes) = (due.heads.len() as u64, 0);
        loop {
            if bytes >= MAX_BYTES {
                self.note(Oddity::MoreToSend);
                return Ok(());
            }
            let (pair, id) = (self.pair.clone(), random()?);
            let noted = self.update(move |stronghold| due.clone().note(stronghold, &pair, id));
            match noted.await? {
                Noted::NoCard | Noted::All => return Ok(()),
                Noted::Later => {
                    self.note(Oddity::MoreToSend);
                    return Ok(());
                }
                Noted::Letter(letter, rest) => {
                    due = rest;
                    bytes += self.put_letter(*letter, handler).await?;
                    handler.on_sent(self.done.outcome.summary.sent, all);
                }
            }
        }
    }

    /// Reads the card and the listing into the books, and collects the heads that are due. `None`
    /// if no card of the peer was ever read.
    async fn read(&self, contents: &Contents, card: Option<PeerCard>) -> Result<Option<Due>, ExchangeError> {
        let (pair, approved) = (self.pair.clone(), self.approved);
        let (own_letters, before, is_complete) =
            (contents.own_letters.clone(), contents.state.clone(), contents.is_complete);
        let contents = Contents { own_letters, state: before, is_complete, ..Contents::default() };
        let read = self.update(move |stronghold| {
            let mailbox = mailbox_of(stronghold, &pair.device)?;
            if let Some(card) = &card {
                note_card(mailbox, card, now());
            }
            let Some(card) = &mailbox.peer_card else { return Ok(None) };
            let listed = contents.listed(&mailbox.outbox);
            mailbox.outbox.read(&card.standing, &listed);
            let outbox = mailbox.outbox.clone();
            Ok(Some(Due::collect(stronghold, &pair.device, &outbox, approved)))
        });
        Ok(read.await?)
    }

    /// Seals and puts a letter that is noted. Returns its length.
    async fn put_letter(
        &mut self,
        letter: Outgoing,
        handler: &mut dyn SessionHandler,
    ) -> Result<u64, ExchangeError> {
        let Outgoing { order, entries, card, verdict } = letter;
        let key = RecipientPublicKey::from_bytes(&card.key).map_err(|_| HostError::BadKey)?;
        let name = ObjectName { writer: self.pair.keys.own(), kind: ObjectKind::Letter, point: order.point };
        let name = self.pair.keys.seal_name(&name)?;
        let (pair, to, count) = (self.pair.clone(), self.pair.device, entries.len() as u64);
        let (sealed, name) = stronghold_snapshot::offload(move || {
            (Letter::seal(&entries, &order, &pair.keys, &name, &pair.own, (to, &key)), name)
        })
        .await;
        let object = sealed?;
        let len = object.len() as u64;
        self.put(&name, object).await?;
        self.told(&[verdict], handler);
        self.done.letters_sent += 1;
        self.done.outcome.summary.sent += count;
        Ok(len)
    }
}

impl Due {
    /// Collects the heads that the peer lacks, or that must be sent again.
    fn collect(stronghold: &Stronghold, device: &DeviceId, outbox: &Outbox, approved: bool) -> Self {
        let grant = Rulings::of(stronghold.policy(), device, approved, now()).pull;
        let everything = Scope::of(Selection::everything());
        let due_in = |scope: &Scope| stronghold.due_to(device, scope, |head| outbox.owes(head));
        let mut heads = grant.as_ref().map(|grant| due_in(grant.scope())).unwrap_or_default();
        let mut held_back = Vec::new();
        if outbox.is_owing() {
            let given: BTreeSet<EntryId> = heads.iter().map(Shape::entry).collect();
            let is_again = |shape: &Shape| stronghold.peers().was_disclosed_to(device, &shape.revision);
            let others = due_in(&everything).into_iter();
            let others = others.filter(|shape| is_again(shape) && !given.contains(&shape.entry()));
            held_back.extend(others.map(|shape| shape.revision));
        }
        let mut not_given = Vec::new();
        if grant.is_none() {
            let lacking = stronghold.due_to(device, &everything, |_| false);
            let locations = lacking.iter().filter(|shape| !shape.deleted).map(|shape| shape.location);
            not_given.extend(locations.map(|location| Skipped { location, why: SkipReason::MayNotPull }));
            not_given.dedup();
        }
        heads.sort_by_key(|shape| shape.revision);
        Self { heads: heads.into(), held_back, not_given, grant, sent: outbox.sent() }
    }

    /// Notes the next letter: in the books, among what the peer was given, and in the log.
    fn note(mut self, stronghold: &mut Stronghold, pair: &Pair, id: [u8; 8]) -> Result<Noted, HostError> {
        let device = pair.device;
        let sealed =
            Edition { generation: stronghold.generation(), stamp: stronghold.peers().own_stamp(&device) };
        let mailbox = mailbox_of(stronghold, &device)?;
        let Some(card) = mailbox.peer_card.clone() else { return Ok(Noted::NoCard) };
        if mailbox.outbox.sent() != self.sent {
            return Ok(Noted::Later);
        }
        let (entries, shapes) = match self.next(stronghold)? {
            Some(next) => next,
            None if self.heads.is_empty() => {
                let mailbox = mailbox_of(stronghold, &device)?;
                if mailbox.outbox.is_owing() {
                    mailbox.outbox.settle(&self.held_back);
                }
                return Ok(Noted::All);
            }
            None => return Ok(Noted::Later),
        };
        let mailbox = mailbox_of(stronghold, &device)?;
        let Some(order) = mailbox.outbox.next(id, sealed, &card.standing) else { return Ok(Noted::Later) };
        let heads: Vec<RevisionId> = shapes.iter().map(|shape| shape.revision).collect();
        mailbox.outbox.note(&order, &card.standing, &heads);
        self.sent = order.point.number;
        stronghold.record_disclosed(&device, heads);
        let volume =
            Volume { entries: shapes.len() as u64, bytes: shapes.iter().map(|shape| shape.size).sum() };
        let verdict = Verdict {
            operation: Operation::Pull,
            ours: false,
            selection: SELECTION.into(),
            allowed: true,
            volume,
        };
        log(stronghold, device, std::slice::from_ref(&verdict));
        Ok(Noted::Letter(Box::new(Outgoing { order, entries, card, verdict }), self))
    }

    /// Opens the next letter's entries. `None` if there are none, or the policy has changed.
    fn next(&mut self, stronghold: &Stronghold) -> Result<Option<Opened>, HostError> {
        let Some(grant) = self.grant.clone() else { return Ok(None) };
        while !self.heads.is_empty() {
            let mut bytes = 0;
            let mut fits = |shape: &Shape| {
                bytes += shape.size + 8 * shape.ancestors.as_slice().len() as u64 + 256;
                bytes <= BATCH_BYTES
            };
            let len = self.heads.iter().take(BATCH_ENTRIES).take_while(|shape| fits(shape)).count().max(1);
            let shapes: Vec<Shape> = self.heads.iter().take(len).cloned().collect();
            let wanted: Vec<EntryId> = shapes.iter().map(Shape::entry).collect();
            let entries = match stronghold.export(&grant, &wanted, now()) {
                Err(ExportError::NotPermitted) => return Ok(None),
                entries => entries?,
            };
            self.heads.drain(..len);
            let exported: Vec<RevisionId> = entries.iter().map(|entry| entry.revision.id()).collect();
            // Those that are no heads any more have a successor, which the next run sends.
            let shapes: Vec<Shape> =
                shapes.into_iter().filter(|shape| exported.contains(&shape.revision)).collect();
            if !entries.is_empty() {
                return Ok(Some((entries, shapes)));
            }
        }
        Ok(None)
    }
}
