//! Tests what a store does that lies, mixes, cuts and floods.

use std::fs;

use stronghold_net::mailbox::{Letter, NAME_LEN, ObjectKind, ObjectName, Oddity, Store, Writer, open_store};
use stronghold_snapshot::RecipientPublicKey;
use stronghold_sync::{
    Ancestors, Edition, Timestamp,
    mailbox::{Order, Point},
};
use stronghold_vault::{Entry, Labels, MAX_VALUE, RejectReason, Revision};

use super::{store::keys, *};

fn other(writer: Writer) -> Writer {
    if writer == Writer::Smaller { Writer::Larger } else { Writer::Smaller }
}

#[tokio::test]
async fn junk_and_the_objects_of_another_pair_are_counted_and_left_alone() {
    let (pair, others) = (Two::new(), Two::new());
    others.one.put("x/v/1", "of others");
    others.settle().await;
    others.one.put("x/v/2", "waits");
    others.one().await;
    let foreign = others.store.objects();
    let mut mixed = foreign.clone();
    mixed.insert("00".into(), vec![1]);
    mixed.insert("ab".repeat(NAME_LEN / 2), vec![2; 100]);
    let junk = mixed.len() as u64;
    pair.store.set(mixed.clone());
    pair.one.put("a/v/1", "1");
    pair.settle().await;
    pair.assert_equal();
    assert_eq!(pair.one().await.others, junk);
    let left = pair.store.objects();
    assert!(
        mixed.iter().all(|(name, object)| left.get(name) == Some(object)),
        "nothing of others is touched"
    );
}

/// The content of objects is exchanged under their names, within the pair.
#[tokio::test]
async fn objects_under_the_names_of_others_are_not_believed() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    pair.one().await;
    pair.two.put("b/v/1", "2");
    let own = keys(&pair).own();
    let mut objects = pair.store.objects();
    let letter = pair.store.of(&pair, own, ObjectKind::Letter).remove(0);
    let card = pair.store.of(&pair, own, ObjectKind::Card).pop().unwrap();
    let (one, two) = (objects[&letter].clone(), objects[&card].clone());
    objects.insert(letter.clone(), two);
    objects.insert(card, one);
    // Its own card is shown to it as one of the other's: the name tells.
    pair.store.set(objects);
    let odd = pair.two().await;
    assert_eq!(odd.odd, [Oddity::DamagedLetter]);
    assert_eq!(pair.two.entries().len(), 1);
    pair.settle().await;
    pair.assert_equal();
}

#[tokio::test]
async fn a_half_written_letter_or_card_is_told_and_heals() {
    for kind in [ObjectKind::Letter, ObjectKind::Card] {
        let pair = Two::new();
        if kind == ObjectKind::Letter {
            pair.settle().await;
        }
        pair.one.put("a/v/1", "1");
        pair.one().await;
        let own = keys(&pair).own();
        let name = pair.store.of(&pair, own, kind).pop().unwrap();
        let whole = pair.store.objects();
        let mut half = whole.clone();
        half.get_mut(&name).unwrap().truncate(500);
        pair.store.set(half);
        let odd = pair.two().await;
        let expected = if kind == ObjectKind::Card { Oddity::DamagedCard } else { Oddity::DamagedLetter };
        assert_eq!((odd.odd, odd.letters_taken), (vec![expected], 0));
        pair.settle_twice().await;
        pair.assert_equal();
    }
}

impl Two {
    /// Settles, after a device whose newest card was lost has something new to say.
    async fn settle_twice(&self) {
        let device = self.two.device();
        let own = keys(self).own();
        let cards = self.store.of(self, own, ObjectKind::Card);
        let mut objects = self.store.objects();
        // The carrying program brings the rest, or loses the part.
        for name in cards.into_iter().filter(|name| objects[name].len() < 1_000).collect::<Vec<_>>() {
            objects.remove(&name);
        }
        self.store.set(objects);
        assert!(self.one.home.lock().stronghold().peers().mailbox(&device).is_some());
        self.settle().await;
    }
}

/// A peer can't make numbers run out.
#[tokio::test]
async fn a_name_of_a_huge_number_is_not_of_the_pair() {
    let pair = Two::new();
    pair.settle().await;
    let keys = keys(&pair);
    let point = stronghold_sync::mailbox::Point { number: u64::MAX, id: [1; 8] };
    let mut objects = pair.store.objects();
    for writer in [keys.own(), other(keys.own())] {
        for kind in [ObjectKind::Card, ObjectKind::Letter] {
            let name = keys.seal_name(&stronghold_net::mailbox::ObjectName { writer, kind, point }).unwrap();
            objects.insert(name, vec![0; 2_048]);
        }
    }
    pair.store.set(objects);
    pair.one.put("a/v/1", "1");
    assert_eq!(pair.one().await.others, 4);
    pair.settle().await;
    pair.assert_equal();
}

/// Puts a letter of the second device with one entry, under a name of `named` and an order of
/// `ordered`, as a peer that breaks the rules could.
async fn forge(pair: &Two, named: u64, ordered: u64, after: u64, revision: Revision) {
    let (keys, to) = (keys(pair), pair.one.device());
    let sender = pair.two.home.identity();
    let mailbox = pair.two.home.lock().stronghold().peers().mailbox(&to).unwrap().clone();
    let key = RecipientPublicKey::from_bytes(&mailbox.peer_card.unwrap().key).unwrap();
    let taken =
        pair.one.home.lock().stronghold().peers().mailbox(&sender.device()).unwrap().inbox.standing().0;
    let point = |number| Point { number, id: [7; 8] };
    let after = if after == 0 { vec![taken] } else { vec![taken, point(after)] };
    let sealed = Edition { generation: 1_000, stamp: None };
    let order = Order { point: point(ordered), after, sealed, seen: sealed };
    let name = ObjectName { writer: other(keys.own()), kind: ObjectKind::Letter, point: point(named) };
    let name = keys.seal_name(&name).unwrap();
    let entry = Entry { location: "x/v/1".parse().unwrap(), revision };
    let letter = Letter::seal(&[entry], &order, &keys, &name, &sender, (to, &key)).unwrap();
    pair.store.put(&name, letter).await.unwrap();
}

fn revision(value: usize) -> Revision {
    Revision {
        salt: [1; 32],
        author: DeviceId::from_bytes([2; 32]),
        ancestors: Ancestors::default(),
        deleted: false,
        labels: Labels::new(),
        time: Timestamp::from_millis(1),
        value: vec![7; value].into(),
    }
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_of_letters_brings_nothing() {
    for (named, ordered, after, value, expected) in [
        (100, 101, 0, 1, Oddity::DamagedLetter),
        (100, 100, u64::MAX, 1, Oddity::DamagedLetter),
        (100, 100, 0, MAX_VALUE + 1, Oddity::Unacceptable(RejectReason::OverLimits)),
    ] {
        let pair = Two::new();
        pair.settle().await;
        forge(&pair, named, ordered, after, revision(value)).await;
        let done = pair.one().await;
        assert_eq!(done.odd, [expected], "{named} {ordered} {after} {value}");
        assert_eq!((done.letters_taken, pair.one.entries().len()), (0, 0));
    }
    let pair = Two::new();
    pair.settle().await;
    forge(&pair, 100, 100, 0, revision(1)).await;
    assert_eq!(pair.one().await.letters_taken, 1, "a right one is taken");
}

/// A folder that a synchronising program carries: it is late, it makes conflict copies, and it
/// leaves halves behind.
#[tokio::test]
async fn a_folder_that_another_program_carries_brings_all() {
    let pair = Two::new();
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let devices = [(&pair.one, pair.two.device()), (&pair.two, pair.one.device())];
    for ((device, peer), place) in devices.iter().zip(&places) {
        let place = place.path().to_str().unwrap().to_owned();
        device.change(|here| _ = here.peers_mut().set_mailbox_place(peer, &place));
    }
    pair.one.put_all((0..50).map(|at| (format!("a/v/{at}"), format!("{at}"))));
    pair.two.put("b/v/1", "1");
    for round in 0..12 {
        for ((device, peer), place) in devices.iter().zip(&places) {
            let folder = open_store(&device.home, *peer).await.unwrap();
            run(&device.home, &*folder, *peer).await.unwrap();
            let listed = folder.list(usize::MAX).await.unwrap();
            assert!(listed.is_complete);
            let to = if place.path() == places[0].path() { &places[1] } else { &places[0] };
            carry(place.path(), to.path(), round);
        }
    }
    pair.assert_equal();
    assert_eq!(pair.one.entries().len(), 51);
}

/// Makes `to` like `from`, as a synchronising program does. In odd rounds it only gets halves
/// there, under their final names, and a copy under a name of its own.
fn carry(from: &std::path::Path, to: &std::path::Path, round: usize) {
    for pair in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(pair.file_name());
        fs::create_dir_all(&target).unwrap();
        for file in fs::read_dir(pair.path()).unwrap().map(Result::unwrap) {
            let content = fs::read(file.path()).unwrap();
            let name = file.file_name().into_string().unwrap();
            if name.contains(' ') {
                continue;
            }
            let there = fs::metadata(target.join(&name)).map(|there| there.len());
            let is_half = round % 2 == 1 && there.is_err();
            let part = if is_half { &content[..content.len() / 2] } else { &content };
            // It knows which of two files is the newer one.
            if there.is_ok_and(|there| there >= part.len() as u64) {
                continue;
            }
            fs::write(target.join(&name), part).unwrap();
            fs::write(target.join(format!("{name} (conflicted copy)")), &content).unwrap();
        }
        for file in fs::read_dir(&target).unwrap().map(Result::unwrap) {
            let is_gone = !pair.path().join(file.file_name()).exists();
            if is_gone && !file.file_name().to_string_lossy().contains(' ') {
                fs::remove_file(file.path()).unwrap();
            }
        }
    }
}
