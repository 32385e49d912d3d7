//! Runs a sender and a taker over a store that delays, drops, repeats, rolls back and lies, restores
//! both sides from older states, and checks that all arrives once the store is honest again.

use alloc::{collections::BTreeMap, vec};

use super::*;
use crate::Stamp;

fn head(number: u64) -> RevisionId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    RevisionId::from_bytes(id)
}

fn complete(points: impl IntoIterator<Item = Point>) -> Listed {
    Listed { points: points.into_iter().collect(), is_complete: true }
}

/// A generator of reproducible choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn id(&mut self) -> [u8; 8] {
        self.roll(u64::MAX).to_be_bytes()
    }
}

#[derive(Clone, Default)]
struct Store {
    letters: BTreeMap<Point, (Order, [u8; 8], Vec<u64>)>,
    cards: BTreeMap<u64, Standing>,
}

#[derive(Clone, Default)]
struct Sender {
    outbox: Outbox,
    heads: BTreeSet<u64>,
    disclosed: BTreeSet<u64>,
    generation: u64,
    stamp: Option<Stamp>,
    card: u64,
}

#[derive(Clone, Default)]
struct Taker {
    inbox: Inbox,
    heads: BTreeSet<u64>,
    seen: Edition,
    card: u64,
    keys: Vec<[u8; 8]>,
    taken: Vec<Point>,
}

struct World {
    dice: Dice,
    sender: Sender,
    taker: Taker,
    store: Store,
    past: Vec<(Sender, Taker, Store)>,
    next: u64,
    /// Heads whose deletion both sides had, and have forgotten.
    forgotten: BTreeSet<u64>,
    /// The entries of a letter.
    entries: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let keys = vec![dice.id()];
        let taker = Taker { keys, ..Taker::default() };
        // Some have more entries than a chain of letters holds.
        let is_large = dice.roll(40) == 0;
        let (entries, next) = if is_large { (1, 200) } else { (3, 1) };
        let sender = Sender { heads: (1..next).collect(), ..Sender::default() };
        let (store, past, forgotten) = (Store::default(), Vec::new(), BTreeSet::new());
        Self { dice, sender, taker, store, past, next, forgotten, entries }
    }

    /// The sender's part of an exchange. `put` says whether the objects arrive, `is_complete`
    /// whether the listing was whole.
    fn send(&mut self, view: &Store, put: bool, is_complete: bool) {
        let Some((number, card)) = view.cards.last_key_value().filter(|(at, _)| **at >= self.sender.card)
        else {
            return;
        };
        let before = self.sender.outbox.clone();
        let mut sender = core::mem::take(&mut self.sender);
        sender.card = *number;
        sender.generation += 1;
        let listed = Listed { points: view.letters.keys().copied().collect(), is_complete };
        sender.outbox.read(card, &listed);
        let due: Vec<u64> = sender
            .heads
            .iter()
            .copied()
            .filter(|at| !sender.disclosed.contains(at) || sender.outbox.owes(&head(*at)))
            .collect();
        let mut is_all = true;
        for heads in due.chunks(self.entries) {
            let sealed = Edition { generation: sender.generation, stamp: sender.stamp };
            let Some(order) = sender.outbox.next(self.dice.id(), sealed, card) else {
                is_all = false;
                break;
            };
            let ids: Vec<RevisionId> = heads.iter().map(|at| head(*at)).collect();
            sender.outbox.note(&order, card, &ids);
            sender.disclosed.extend(heads);
            if put {
                self.store.letters.insert(order.point, (order, card.key, heads.to_vec()));
            }
        }
        if is_all {
            sender.outbox.settle(&[]);
        }
        for point in view.letters.keys().filter(|point| is_complete && sender.outbox.is_over(point)) {
            self.store.letters.remove(point);
        }
        self.sender = sender;
        for mut stored in [before, self.past_outbox()] {
            if let Some(delta) = OutboxDelta::new(&stored, &self.sender.outbox) {
                stored.apply(delta);
            }
            assert_eq!(stored, self.sender.outbox, "a state is stored as its difference to another");
        }
    }

    /// The outbox of the sender at any earlier time.
    fn past_outbox(&self) -> Outbox {
        self.past.first().map_or_else(Outbox::default, |(sender, ..)| sender.outbox.clone())
    }

    /// The taker's part of an exchange.
    fn take(&mut self, view: &Store) {
        let taker = &mut self.taker;
        for (order, key, heads) in view.letters.values() {
            if taker.inbox.turn(order, &taker.seen) != Turn::Next {
                continue;
            }
            if !taker.keys.contains(key) || self.dice.roll(20) == 0 && self.next < 1_000 {
                taker.inbox.note_damaged(order.point);
                continue;
            }
            taker.inbox.take(order.point);
            taker.heads.extend(heads);
            assert!(!taker.taken.contains(&order.point), "{:?} is taken twice", order.point);
            taker.taken.push(order.point);
            assert!(taker.heads.is_disjoint(&self.forgotten), "{:?} undoes a deletion", order.point);
        }
        let (taken, damaged) = taker.inbox.standing();
        let key = *taker.keys.last().unwrap();
        taker.card = 1 + taker.card.max(view.cards.last_key_value().map_or(0, |(number, _)| *number));
        self.store.cards = [(taker.card, Standing { taken, damaged, seen: taker.seen, key })].into();
    }

    fn honest(&mut self) {
        let view = self.store.clone();
        self.take(&view);
        let view = self.store.clone();
        self.send(&view, true, true);
    }

    /// A view of the store that lacks some objects, or an older one.
    fn view(&mut self) -> Store {
        let mut view = self.store.clone();
        if self.dice.roll(4) == 0 && !self.past.is_empty() {
            let at = self.dice.roll(self.past.len() as u64) as usize;
            view = self.past[at].2.clone();
        }
        let dice = &mut self.dice;
        view.letters.retain(|_, _| dice.roll(5) > 0);
        view
    }

    /// Deletes some heads on both sides, which forget the deletion too.
    fn forget_some(&mut self) {
        let Self { dice, sender, taker, forgotten, .. } = self;
        forgotten.extend(sender.heads.union(&taker.heads).filter(|_| dice.roll(3) == 0));
        sender.heads.retain(|at| !forgotten.contains(at));
        taker.heads.retain(|at| !forgotten.contains(at));
    }

    fn misfortune(&mut self) {
        let at = self.dice.roll(self.past.len().max(1) as u64) as usize;
        match self.dice.roll(16) {
            0 if !self.past.is_empty() => self.sender = self.past[at].0.clone(),
            1 if !self.past.is_empty() => self.taker = self.past[at].1.clone(),
            2 if !self.past.is_empty() => self.store = self.past[at].2.clone(),
            3 if !self.past.is_empty() => self.store.letters.extend(self.past[at].2.letters.clone()),
            4 => self.store.letters.clear(),
            5 => {
                self.taker.keys.push(self.dice.id());
                self.taker.keys = self.taker.keys.split_off(self.taker.keys.len().saturating_sub(2));
            }
            6 => {
                // A direct session: both have all, and the taker sees the sender's generation. A
                // taker restored from before is noticed by the next direct session only.
                self.past.clear();
                self.sender.stamp = Some(Stamp::from_bytes(self.dice.id()));
                let Sender { generation, stamp, .. } = self.sender;
                self.taker.seen = Edition { generation, stamp };
                self.forget_some();
                self.taker.heads.extend(&self.sender.heads);
                self.sender.disclosed.extend(&self.sender.heads);
            }
            7 => self.taker.inbox.ask_again(self.dice.id()),
            8 => self.store = Store::default(),
            9..12 => {
                let view = self.view();
                self.take(&view);
            }
            _ => {
                let (view, put) = (self.view(), self.dice.roll(5) > 0);
                let is_complete = self.dice.roll(4) > 0;
                self.send(&view, put, is_complete);
            }
        }
    }
}

#[test]
fn all_arrives_once_the_store_is_honest_whatever_it_did_before() {
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        let steps = 5 + world.dice.roll(40);
        for _ in 0..steps {
            for _ in 0..world.dice.roll(3) {
                world.sender.heads.insert(world.next);
                world.next += 1;
            }
            world.misfortune();
            world.past.push((world.sender.clone(), world.taker.clone(), world.store.clone()));
        }
        // The clock is behind each card that a restored taker has forgotten.
        world.taker.card = world.taker.card.max(world.sender.card);
        world.next = 1_000;
        for _ in 0..8 {
            world.honest();
        }
        let missing: Vec<_> = world.sender.heads.difference(&world.taker.heads).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?} are lost");
        assert_eq!(world.sender.outbox.waiting().count(), 0, "seed {seed}: all is acknowledged");
        assert!(world.store.letters.is_empty(), "seed {seed}: all is deleted from the store");
    }
}

#[test]
fn a_letter_is_taken_in_its_turn_and_once() {
    let card = Standing {
        taken: Point::default(),
        damaged: Point::default(),
        seen: Edition::default(),
        key: [1; 8],
    };
    let never = Edition::default();
    let sealed = Edition { generation: 1, stamp: None };
    let mut outbox = Outbox::default();
    assert_eq!(outbox.next([1; 8], sealed, &card), None, "no card was read");
    outbox.read(&card, &complete([]));
    assert!(!outbox.owes(&head(1)));
    let orders: Vec<Order> = (1..=2)
        .map(|number| {
            let order = outbox.next([number; 8], sealed, &card).unwrap();
            outbox.note(&order, &card, &[head(number.into())]);
            order
        })
        .collect();
    let mut inbox = Inbox::default();
    assert_eq!(inbox.turn(&orders[1], &never), Turn::NotYet);
    assert_eq!(inbox.turn(&orders[0], &sealed), Turn::BeforeSession);
    let stamped = Edition { generation: 0, stamp: Some(Stamp::from_bytes([1; 8])) };
    assert_eq!(inbox.turn(&orders[0], &stamped), Turn::BeforeSession, "of a restored file");
    let after = Order { seen: stamped, ..orders[0].clone() };
    assert_eq!(inbox.turn(&after, &stamped), Turn::Next, "its sender knew of the session");
    assert_eq!(inbox.turn(&orders[0], &never), Turn::Next);
    inbox.take(orders[0].point);
    assert_eq!(inbox.turn(&orders[0], &never), Turn::Past);
    assert_eq!(inbox.turn(&orders[1], &never), Turn::Next);

    let listed = complete([orders[0].point]);
    outbox.read(&card, &Listed { is_complete: false, ..listed.clone() });
    assert!(!outbox.is_owing(), "a listing that is cut does not say what is missing");
    outbox.read(&card, &listed);
    assert_eq!([1, 2, 3].map(|at| outbox.owes(&head(at))), [true, true, false], "the second is missing");
    let again = outbox.next([3; 8], sealed, &card).unwrap();
    assert_eq!(inbox.turn(&again, &never), Turn::Next, "the first was taken meanwhile");
    assert_eq!(Inbox::default().turn(&again, &never), Turn::Next);
}
