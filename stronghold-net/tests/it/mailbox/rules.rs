//! Tests that letters are subject to the same rules as a direct session.

use std::sync::{Arc, Mutex};

use stronghold_net::{
    BoxFuture,
    mailbox::{Deferred, Oddity},
};
use stronghold_sync::{Ancestors, Pending, Plan, Selection, SkipReason};
use stronghold_vault::{AuditAction, Entry, Labels, Revision};

use super::*;

fn names(done: &Exchanged) -> Vec<(String, SkipReason)> {
    let plan = &done.outcome.plan;
    plan.not_taken.iter().map(|left| (plan.names[&left.location].to_string(), left.why)).collect()
}

#[tokio::test]
async fn what_no_rule_lets_it_write_or_delete_is_refused_by_name_and_comes_once_a_rule_does() {
    let (one, two) = friends();
    let device = one.device();
    two.change(|here| _ = here.policy_mut().revoke(&device));
    two.grant(&one, &[Operation::Pull, Operation::Push], "open/**");
    let pair = Two::of(one, two);
    pair.one.put("open/v/1", "1");
    pair.one.put("shut/v/1", "2");
    pair.settle_but_refused().await;
    assert_eq!(pair.two.entries(), [("open/v/1".to_owned(), "1".to_owned())]);
    pair.one.remove("open/v/1");
    pair.one().await;
    let refused = pair.two().await;
    assert_eq!(names(&refused), [("open/v/1".to_owned(), SkipReason::MayNotDelete)]);
    assert_eq!(pair.two.entries().len(), 1, "it may not delete");
    {
        let home = pair.two.home.lock();
        let refusals = home.stronghold().log().entries().filter(|entry| !entry.allowed);
        let actions: Vec<_> = refusals.map(|entry| (entry.action, entry.selection.clone())).collect();
        let mailbox = || "mailbox".to_owned();
        assert_eq!(actions, [(AuditAction::Push, mailbox()), (AuditAction::Delete, mailbox())]);
    }
    pair.two.grant(&pair.one, ALL, "**");
    pair.settle().await;
    assert_eq!(pair.two.entries(), [("shut/v/1".to_owned(), "2".to_owned())]);
    pair.assert_equal();
}

impl Two {
    /// Both run until all is taken but for the record that the second one refuses.
    async fn settle_but_refused(&self) {
        self.one().await;
        self.two().await;
        self.one().await;
        let taken = self.two().await;
        assert_eq!(names(&taken), [("shut/v/1".to_owned(), SkipReason::MayNotPush)]);
        self.one().await;
        self.two().await;
    }
}

#[tokio::test]
async fn what_no_rule_lets_it_pull_is_told_and_not_sent() {
    let (one, two) = (Device::new("one"), Device::new("two"));
    one.grant(&two, &[Operation::Push], "**");
    two.grant(&one, ALL, "**");
    let pair = Two::of(one, two);
    pair.one.put("a/v/1", "1");
    pair.two.put("a/v/2", "2");
    pair.settle().await;
    let told = pair.one().await;
    assert_eq!(told.outcome.plan.not_given.len(), 1, "only the other's is known to it");
    assert_eq!(told.outcome.plan.not_given[0].why, SkipReason::MayNotPull);
    assert_eq!(pair.two.entries().len(), 1);
    pair.one.grant(&pair.two, &[Operation::Pull], "**");
    pair.settle().await;
    pair.assert_equal();
}

/// A head that must be sent again and that a rule holds back stays owed until the rule is back.
#[tokio::test]
async fn what_a_rule_holds_back_is_sent_again_later() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put_all(["a/v/1", "b/v/1"].map(|name| (name.to_owned(), "1".to_owned())));
    pair.one().await;
    // The letter is lost, and by now only a part may be pulled.
    let device = pair.two.device();
    pair.store.set(Default::default());
    pair.one.change(|here| _ = here.policy_mut().revoke(&device));
    pair.one.grant(&pair.two, SYNC, "a/**");
    pair.settle().await;
    assert_eq!(pair.two.entries().len(), 1);
    assert_eq!(pair.one().await.outcome.summary.round_trips, 1, "it is not tried each time");
    pair.one.grant(&pair.two, SYNC, "**");
    pair.settle().await;
    pair.assert_equal();
    assert_eq!(pair.two.entries().len(), 2);
}

/// A rule that is taken back between the letter and its arrival counts: what was sent is refused.
#[tokio::test]
async fn the_rules_of_the_moment_count() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    pair.one().await;
    let device = pair.one.device();
    pair.two.change(|here| _ = here.policy_mut().revoke(&device));
    let refused = pair.two().await;
    assert_eq!(names(&refused), [("a/v/1".to_owned(), SkipReason::MayNotPush)]);
    assert_eq!(pair.two.entries(), []);
    pair.two.grant(&pair.one, SYNC, "**");
    pair.settle().await;
    pair.assert_equal();
}

/// Answers as it is told, and counts the questions.
#[derive(Clone, Default)]
struct Person {
    says_yes: bool,
    asked: Arc<Mutex<Vec<String>>>,
}

impl SessionHandler for Person {
    fn approve(&mut self, _: DeviceId, pending: &[Pending]) -> BoxFuture<bool> {
        let operations = pending.iter().map(|pending| pending.grant().operation().name().to_owned());
        self.asked.lock().unwrap().extend(operations);
        let yes = self.says_yes;
        Box::pin(async move { yes })
    }

    fn confirm_losses(&mut self, _: DeviceId, plan: &Plan) -> BoxFuture<bool> {
        self.asked.lock().unwrap().push(format!("lose {}", plan.losses_here()));
        let yes = self.says_yes;
        Box::pin(async move { yes })
    }
}

#[tokio::test]
async fn a_rule_that_asks_keeps_the_letter_until_a_person_says_yes() {
    let (one, two) = friends();
    let device = one.device();
    two.change(|here| {
        _ = here.policy_mut().revoke(&device);
        let (operations, selection) = ([Operation::Push].into(), Selection::everything());
        here.policy_mut().grant(stronghold_sync::Rule {
            device,
            operations,
            selection,
            expires: None,
            ask: true,
        });
    });
    let pair = Two::of(one, two);
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    pair.one().await;
    let waits = pair.two().await;
    assert_eq!(waits.odd, [stronghold_net::mailbox::Oddity::NeedsApproval]);
    assert_eq!((waits.letters_taken, pair.two.entries().len()), (0, 0));
    let mut person = Person { says_yes: true, ..Person::default() };
    let taken = run_with(&pair.two.home, &pair.store, device, &mut person).await.unwrap();
    assert_eq!((taken.letters_taken, pair.two.entries().len()), (1, 1));
    assert_eq!(*person.asked.lock().unwrap(), ["push"]);
}

#[tokio::test]
async fn a_letter_that_deletes_much_waits_for_a_person() {
    let pair = Two::new();
    pair.one.put_all((0..30).map(|at| (format!("a/v/{at}"), "1".to_owned())));
    pair.settle().await;
    (0..20).for_each(|at| pair.one.remove(&format!("a/v/{at}")));
    pair.one().await;
    let mut person = Person::default();
    let stopped = run_with(&pair.two.home, &pair.store, pair.one.device(), &mut person).await.unwrap();
    assert_eq!(stopped.unconfirmed.unwrap().lost, 20);
    assert_eq!(*person.asked.lock().unwrap(), ["lose 20 of 30 records here"]);
    assert_eq!(pair.two.entries().len(), 30, "nothing is deleted");
    let mut person = Person { says_yes: true, ..Person::default() };
    let taken = run_with(&pair.two.home, &pair.store, pair.one.device(), &mut person).await.unwrap();
    assert_eq!(taken.outcome.summary.deleted, 20);
    pair.assert_equal();
}

impl Two {
    /// Puts heads of one record at the first device, as others wrote them at the same time.
    fn put_heads(&self, salts: std::ops::Range<u8>) {
        let head = |salt| Entry {
            location: "a/v/1".parse().unwrap(),
            revision: Revision {
                salt: [salt; 32],
                author: DeviceId::from_bytes([salt; 32]),
                ancestors: Ancestors::default(),
                deleted: false,
                labels: Labels::new(),
                time: Timestamp::from_millis(1),
                value: vec![salt].into(),
            },
        };
        let (entries, from): (Vec<_>, _) = (salts.map(head).collect(), DeviceId::from_bytes([9; 32]));
        let now = Timestamp::from_millis(1);
        self.one.change(|here| here.import(&entries, from, now, |_, _, _| Ok(())).unwrap());
    }
}

/// Entries that were refused for too many heads come once there is room, as those do that a rule
/// kept away.
#[tokio::test]
async fn what_had_too_many_heads_comes_once_there_are_fewer() {
    let pair = Two::new();
    pair.put_heads(0..5);
    pair.settle().await;
    pair.put_heads(5..9);
    pair.one().await;
    let refused = pair.two().await;
    assert_eq!(names(&refused), [("a/v/1".to_owned(), SkipReason::TooManyHeads)]);
    pair.settle().await;
    let at = "a/v/1".parse().unwrap();
    let heads = |device: &Device| {
        let home = device.home.lock();
        let heads = home.stronghold().shapes_at(&stronghold_sync::Location::id(&at));
        heads.into_iter().map(|head| head.revision).collect::<Vec<_>>()
    };
    assert_eq!((heads(&pair.one).len(), heads(&pair.two).len()), (9, 5));
    let first = heads(&pair.two)[0];
    pair.two.change(|here| here.resolve(&at, &first, Timestamp::from_millis(2)).unwrap());
    pair.settle().await;
    assert_eq!(heads(&pair.two).len(), 5, "the resolution, and the four");
    assert_eq!(heads(&pair.one), heads(&pair.two));
}

/// Runs an exchange of the second device in a process that stays.
async fn look(pair: &Two, deferred: &mut Deferred) -> Exchanged {
    let exchange = Exchange::new(&pair.two.home, &pair.store, pair.one.device()).await.unwrap();
    let mut exchange = exchange.with_deferred(deferred);
    exchange.run(&mut NoHandler).await.unwrap();
    exchange.into_done()
}

/// A process that stays gets a letter that is not due once, until something changes here.
#[tokio::test]
async fn a_letter_that_is_not_due_is_not_got_at_each_look() {
    let pair = Two::new();
    pair.settle().await;
    let mut deferred = Deferred::default();
    let before = pair.store.objects();
    pair.one.put("a/v/1", "1");
    pair.one().await;
    pair.one.put("a/v/2", "2");
    pair.one().await;
    // Of two letters, only the second one is carried there yet.
    let writer = store::keys(&pair).own();
    let letters = pair.store.of(&pair, writer, stronghold_net::mailbox::ObjectKind::Letter);
    let (all, mut some) = (pair.store.objects(), before);
    some.insert(letters[1].clone(), all[&letters[1]].clone());
    pair.store.set(some);
    look(&pair, &mut deferred).await;
    pair.store.asked();
    look(&pair, &mut deferred).await;
    assert_eq!(pair.store.asked().0, ["list"], "it was got before");
    pair.store.set(all);
    assert_eq!(look(&pair, &mut deferred).await.letters_taken, 2, "now it is due");
    pair.assert_equal();
}

/// So is one that waits for a person, which is told each time.
#[tokio::test]
async fn a_letter_that_waits_for_a_person_is_not_got_at_each_look() {
    let (one, two) = friends();
    let device = one.device();
    let asks = |ask| stronghold_sync::Rule {
        device,
        operations: [Operation::Push].into(),
        selection: Selection::everything(),
        expires: None,
        ask,
    };
    two.change(|here| {
        here.policy_mut().revoke(&device);
        here.policy_mut().grant(asks(true));
    });
    let pair = Two::of(one, two);
    pair.settle().await;
    let mut deferred = Deferred::default();
    pair.one.put("a/v/1", "1");
    pair.one().await;
    look(&pair, &mut deferred).await;
    pair.store.asked();
    assert_eq!(look(&pair, &mut deferred).await.odd, [Oddity::NeedsApproval]);
    assert_eq!(pair.store.asked().0, ["list"], "it was got before");
    pair.two.change(|here| _ = here.policy_mut().grant(asks(false)));
    assert_eq!(look(&pair, &mut deferred).await.letters_taken, 1);
    pair.assert_equal();
}
