//! What a host does for each action: whom it tells, what it answers, what it leaves in the file and
//! when.

mod batches;
mod level;
mod marks;

use stronghold_snapshot::{ComplementReceiver, Manifest, RecipientPublicKey, seal_complement};
use stronghold_sync::{
    Decision, EntryId, Grant, Mapping, RevisionId, Scope, Shape, Timestamp,
    message::Volume,
    session::{Changes, Lookup, LookupResult, PeerMisbehaved},
};
use stronghold_vault::Entry;

use super::*;
use crate::common::{Device, friends};
use crate::session::binding::request_of;

const BINDING: [u8; 32] = [7; 32];

/// Notes what it is told, and answers as it is to.
#[derive(Default)]
struct Noting {
    told: Vec<String>,
    /// What it is asked to answer; nothing: it never does.
    says: Option<bool>,
    goes_on: Option<PlanDecision>,
}

impl Noting {
    fn note(&mut self, what: &str, of: &dyn std::fmt::Debug) {
        self.told.push(format!("{what} {of:?}"));
    }

    fn answering(&self) -> BoxFuture<bool> {
        let says = self.says;
        Box::pin(async move {
            match says {
                Some(says) => says,
                None => std::future::pending().await,
            }
        })
    }
}

impl SessionHandler for Noting {
    fn approve(&mut self, peer: DeviceId, pending: &[Pending]) -> BoxFuture<bool> {
        self.note("ask", &(peer, pending.len()));
        self.answering()
    }

    fn confirm_losses(&mut self, peer: DeviceId, plan: &Plan) -> BoxFuture<bool> {
        self.note("confirm", &(peer, plan.unchanged));
        self.answering()
    }

    fn on_left_behind(&mut self, peer: DeviceId, left: &LeftBehindReport) {
        self.note("left", &(peer, left));
    }

    fn review_plan(&mut self, plan: &Plan) -> BoxFuture<PlanDecision> {
        self.note("plan", &plan.unchanged);
        Box::pin(std::future::ready(self.goes_on.unwrap_or(PlanDecision::Proceed)))
    }

    fn on_incoming(&mut self, volume: Volume) {
        self.note("expect", &volume);
    }

    fn on_received(&mut self, taken: Changes) {
        self.note("taken", &taken);
    }

    fn on_sent(&mut self, entries: u64, of: u64) {
        self.note("given", &(entries, of));
    }

    fn on_rollback(&mut self, peer: DeviceId, found: u64, seen: u64) {
        self.note("set back", &(peer, found, seen));
    }

    fn on_duplicate(&mut self, peer: DeviceId, whose: Duplicate) {
        self.note("copied", &(peer, whose));
    }

    fn on_decision(&mut self, peer: DeviceId, verdict: &Verdict) {
        self.note("decided", &(peer, verdict.operation));
    }
}

/// The host of `own` in a session with `peer`, who has the key of the secret that comes with it.
fn host<'a>(own: &Device, peer: &Device, handler: &'a mut Noting) -> VaultHost<'a> {
    let secret = RecipientSecretKey::from_bytes(&[3; 32]).unwrap();
    VaultHost::for_peer(own.home.clone(), public(peer), own.device(), secret, &BINDING, handler)
}

fn public(device: &Device) -> PublicIdentity {
    device.home.lock().stronghold().identity().public().clone()
}

fn key() -> RecipientKey {
    recipient_key(&RecipientSecretKey::from_bytes(&[3; 32]).unwrap()).unwrap()
}

fn generation(device: &Device) -> u64 {
    device.opened_again().lock().file().sealer().generation()
}

fn revision(number: u8) -> RevisionId {
    RevisionId::from_bytes([number; 32])
}

/// Whether the file on disk says that the peer has had these.
fn known(own: &Device, peer: &Device, revisions: &[u8]) -> Vec<bool> {
    let home = own.opened_again();
    let home = home.lock();
    let peers = home.stronghold().peers();
    revisions.iter().map(|number| peers.was_disclosed_to(&peer.device(), &revision(*number))).collect()
}

fn verdict(operation: Operation, allowed: bool, entries: u64) -> Verdict {
    let volume = Volume { entries, bytes: entries * 10 };
    Verdict { operation, ours: false, selection: "a/**".into(), allowed, volume }
}

fn grant(own: &Device, peer: &Device, operation: Operation, selection: &str) -> Grant {
    let selection = selection.parse().unwrap();
    match own.home.lock().stronghold().policy().decide(&peer.device(), operation, &selection, now()) {
        Decision::Allowed(grant) => grant,
        other => panic!("{other:?}"),
    }
}

fn shapes(device: &Device) -> Vec<Shape> {
    let all = Scope::of(stronghold_sync::Selection::everything());
    device.home.lock().stronghold().shapes(&all, &Mapping::default())
}

fn entries(device: &Device) -> Vec<EntryId> {
    shapes(device).iter().map(Shape::entry).collect()
}

#[tokio::test]
async fn what_needs_no_answer_is_told_and_kept() {
    let (own, peer) = friends();
    own.put("a/v/r", "1");
    let id = |name: &str| name.parse::<Location>().unwrap().id();
    let behind = LeftBehind {
        not_given: 5,
        ungiven: vec![id("a/v/r"), id("a/v/unknown")],
        not_taken: 6,
        untaken: vec!["b/v/r".parse().unwrap()],
    };
    let listing = Listing {
        location: "b/v/r".parse().unwrap(),
        revision: revision(1),
        size: 1,
        modified: Timestamp::from_millis(2),
        conflict: false,
    };
    let volume = Volume { entries: 3, bytes: 30 };
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    for event in [
        Event::Listing(vec![listing.clone()]),
        Event::Incoming(volume),
        Event::Sent { entries: 1, of: 2 },
        Event::Duplicate(Duplicate::Ours),
        Event::PeerHolds(vec![revision(1)]),
        Event::LeftBehind(behind),
        Event::Declined(vec![id("a/v/declined")]),
    ] {
        assert_eq!(host.notify(event).await, Ok(()));
    }
    assert_eq!(host.found, [listing]);
    assert_eq!(host.declined, [id("a/v/declined")]);
    let device = peer.device();
    let stays = LeftBehindReport {
        not_given: 5,
        ungiven: vec!["a/v/r".parse().unwrap()],
        not_taken: 6,
        untaken: vec!["b/v/r".parse().unwrap()],
    };
    drop(host);
    assert_eq!(
        noting.told,
        [
            format!("expect {volume:?}"),
            "given (1, 2)".into(),
            format!("copied {:?}", (device, Duplicate::Ours)),
            format!("left {:?}", (device, stays)),
        ]
    );
}

/// Of a peer whose snapshot says less than it did; of one that has two, that alone is told.
#[tokio::test]
async fn a_snapshot_that_was_set_back_is_told_of() {
    let (own, peer) = friends();
    own.change(|stronghold| stronghold.peers_mut().set_generation(&peer.device(), 10));
    let told = |found| format!("set back {:?}", (peer.device(), found, 10));
    for (copied, generation, expected) in [
        (None, 0, None),
        (None, 1, Some(told(1))),
        (None, 9, Some(told(9))),
        (None, 10, None),
        (None, 11, None),
        (Some(Duplicate::Ours), 9, Some(told(9))),
        (Some(Duplicate::Theirs), 9, None),
    ] {
        let mut noting = Noting::default();
        let mut host = host(&own, &peer, &mut noting);
        if let Some(copied) = copied {
            host.notify(Event::Duplicate(copied)).await.unwrap();
        }
        host.notify(Event::Edition(Edition { generation, stamp: None })).await.unwrap();
        assert_eq!(lock(&host.work).knowledge.edition, Some(Edition { generation, stamp: None }));
        drop(host);
        let told: Vec<_> = noting.told.into_iter().filter(|told| told.starts_with("set back")).collect();
        assert_eq!(told, Vec::from_iter(expected), "{copied:?} {generation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_has_so_long_and_silence_is_a_no() {
    let (own, peer) = friends();
    let pending = || {
        own.change(|stronghold| {
            let device = DeviceId::from_bytes([9; 32]);
            stronghold.policy_mut().grant(stronghold_sync::Rule {
                device,
                operations: [Operation::Pull].into(),
                selection: "**".parse().unwrap(),
                expires: None,
                ask: true,
            });
            match stronghold.policy().decide(&device, Operation::Pull, &"a/**".parse().unwrap(), now()) {
                Decision::Ask(pending) => pending,
                other => panic!("{other:?}"),
            }
        })
    };
    let plan = Plan { unchanged: 3, ..Plan::default() };
    for (says, answer, seconds) in [
        (Some(true), TaskResult::Approved, 0),
        (Some(false), TaskResult::Denied, 0),
        (None, TaskResult::Denied, 7),
    ] {
        for action in [Task::Approve(vec![pending()]), Task::Confirm(Box::new(plan.clone()))] {
            let begun = tokio::time::Instant::now();
            let mut noting = Noting { says, ..Noting::default() };
            let mut host = host(&own, &peer, &mut noting).with_approval_timeout(Duration::from_secs(7));
            assert_eq!(host.perform(action.clone()).await, Ok(answer.clone()));
            assert_eq!(begun.elapsed(), Duration::from_secs(seconds));
            drop(host);
            let expected = match action {
                Task::Approve(_) => format!("ask {:?}", (peer.device(), 1)),
                _ => format!("confirm {:?}", (peer.device(), 3)),
            };
            assert_eq!(noting.told, [expected]);
        }
    }
}

#[tokio::test]
async fn a_plan_is_carried_out_as_the_handler_says_and_kept() {
    let (own, peer) = friends();
    let plan = Plan { unchanged: 3, ..Plan::default() };
    for (goes_on, answer) in [
        (PlanDecision::Proceed, TaskResult::Proceed { deletions_confirmed: false }),
        (PlanDecision::ProceedWithDeletions, TaskResult::Proceed { deletions_confirmed: true }),
        (PlanDecision::Stop, TaskResult::Stop),
    ] {
        let mut noting = Noting { goes_on: Some(goes_on), ..Noting::default() };
        let mut host = host(&own, &peer, &mut noting);
        assert_eq!(host.perform(Task::Plan(Box::new(plan.clone()))).await, Ok(answer));
        assert_eq!(host.plan, plan);
    }
}

#[test]
fn what_is_decided_has_its_name_in_the_log_and_is_urgent_where_something_leaves() {
    use Operation::{Browse, Delete, Import, Pull, Push};
    let table = [
        (Import, AuditAction::Import, AuditAction::Import, true),
        (Browse, AuditAction::Browse, AuditAction::Browse, true),
        (Pull, AuditAction::Pull, AuditAction::Gave, true),
        (Push, AuditAction::Push, AuditAction::Took, false),
        (Delete, AuditAction::Delete, AuditAction::TookDeletions, false),
    ];
    for (operation, theirs, ours, leaves) in table {
        assert_eq!(audit_action(&verdict(operation, true, 1)), theirs);
        assert_eq!(audit_action(&Verdict { ours: true, ..verdict(operation, true, 1) }), ours);
        assert_eq!(discloses(&verdict(operation, true, 1)), leaves);
        assert!(!discloses(&verdict(operation, false, 1)) && !discloses(&verdict(operation, true, 0)));
    }
}

/// What lets something leave is in the file before it does, with what was learnt of the peer; the
/// rest waits for its minute.
#[tokio::test(start_paused = true)]
async fn a_decision_by_which_something_leaves_is_durable_at_once() {
    let (own, peer) = friends();
    let logged = || -> Vec<(AuditAction, bool, u64, String)> {
        let home = own.opened_again();
        let home = home.lock();
        let entries = home.stronghold().log().entries();
        entries
            .map(|logged| (logged.action, logged.allowed, logged.entries, logged.selection.clone()))
            .collect()
    };
    own.put("a/v/r", "1");
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    let before = generation(&own);
    let mut log = async |verdicts: Vec<Verdict>| {
        host.notify(Event::PeerHolds(vec![revision(1)])).await.unwrap();
        assert_eq!(host.notify(Event::Log(verdicts)).await, Ok(()));
        (generation(&own) - before, lock(&host.work).knowledge.is_due())
    };
    // The first is written at once, alone; the next waits.
    assert_eq!(log(vec![verdict(Operation::Push, true, 1)]).await, (1, true));
    assert_eq!(log(vec![verdict(Operation::Browse, false, 0)]).await, (1, true));
    assert_eq!(known(&own, &peer, &[1]), [false]);
    assert_eq!(logged(), [(AuditAction::Push, true, 1, "a/**".into())]);
    let both = vec![verdict(Operation::Delete, true, 2), verdict(Operation::Pull, true, 3)];
    assert_eq!(log(both).await, (2, false));
    assert_eq!(known(&own, &peer, &[1]), [true]);
    assert_eq!(
        logged(),
        [
            (AuditAction::Push, true, 1, "a/**".into()),
            (AuditAction::Browse, false, 0, "a/**".into()),
            (AuditAction::Delete, true, 2, "a/**".into()),
            (AuditAction::Pull, true, 3, "a/**".into()),
        ]
    );
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(log(vec![verdict(Operation::Browse, false, 0)]).await.0, 2);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(log(vec![verdict(Operation::Browse, false, 0)]).await.0, 3);
    drop(host);
    let told = |operation| format!("decided {:?}", (peer.device(), operation));
    assert_eq!(noting.told[..2], [told(Operation::Push), told(Operation::Browse)]);
    assert_eq!(noting.told.len(), 6);
}

#[tokio::test]
async fn what_is_looked_up_is_answered_as_it_is_in_the_file() {
    let (own, peer) = friends();
    own.put("a/v/own", "1");
    peer.put("a/v/delivered", "2");
    let all = entries(&peer);
    let moved = exported(&peer, &own);
    own.change(|stronghold| {
        stronghold.import(&moved, peer.device(), Timestamp::from_millis(1), |_, _, _| Ok(())).unwrap();
        stronghold.record_disclosed(&peer.device(), all.iter().map(|entry| entry.revision));
    });
    let unknown = "a/v/unknown".parse::<Location>().unwrap().id();
    let shapes = shapes(&own);
    let names: Vec<_> =
        shapes.iter().map(|shape| own.home.lock().stronghold().names_of(&shape.location)).collect();
    let is_own: Vec<bool> =
        names.iter().map(|name| name.as_ref().unwrap().to_string() == "a/v/own").collect();
    let look = Lookup {
        names: shapes.iter().map(|shape| shape.location).chain([unknown]).collect(),
        grant: None,
        lacking: shapes.clone(),
        delivered: shapes.iter().map(Shape::entry).collect(),
    };
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    let looked = LookupResult {
        names: names.iter().cloned().chain([None]).collect(),
        lacking: is_own.clone(),
        delivered: is_own.iter().map(|own| !own).collect(),
    };
    assert_eq!(host.perform(Task::Lookup(look.clone())).await, Ok(TaskResult::Looked(looked)));
    // Names are told by a rule alone: none of what it does not cover, or of what is not held.
    for (selection, names, expected) in [
        ("**", look.names[..2].to_vec(), true),
        ("**", look.names.clone(), false),
        ("a/v/own", look.names[..2].to_vec(), false),
        ("a/v/own", vec![shapes[is_own.iter().position(|own| *own).unwrap()].location], true),
        ("a/v/own", vec![], true),
    ] {
        let grant = Some(grant(&own, &peer, Operation::Pull, selection));
        let answer = host.perform(Task::Lookup(Lookup { names, grant, ..Lookup::default() })).await;
        match answer {
            Ok(TaskResult::Looked(_)) => assert!(expected, "{selection}"),
            other => {
                assert_eq!(other, Err(TaskError::NotPermitted));
                assert!(!expected, "{selection}");
            }
        }
    }
    assert!(host.error.is_none(), "nobody's fault here");
}

#[tokio::test]
async fn shapes_and_lists_are_of_what_is_asked_for() {
    let (own, peer) = friends();
    own.put_all(["a/v/1", "a/v/2", "b/v/1"].map(|name| (name.to_owned(), name.to_owned())));
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    let all = shapes(&own);
    let id = |name: &str| name.parse::<Location>().unwrap().id();
    let of = |names: &[&str]| -> Vec<Shape> {
        let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
        all.iter().filter(|shape| ids.contains(&shape.location)).cloned().collect()
    };
    let one = Scope::of("a/**".parse().unwrap());
    let both = one.clone().within("*/v/1".parse().unwrap());
    for (scope, expected) in [(one, of(&["a/v/1", "a/v/2"])), (both, of(&["a/v/1"]))] {
        assert_eq!(host.perform(Task::Shapes(scope)).await, Ok(TaskResult::Shapes(expected)));
    }
    let browse = grant(&own, &peer, Operation::Browse, "a/**");
    match host.perform(Task::List(browse)).await {
        Ok(TaskResult::Listing(listing)) => {
            let names: Vec<_> = listing.iter().map(|listed| listed.location.to_string()).collect();
            assert_eq!(names, ["a/v/1", "a/v/2"]);
        }
        other => panic!("{other:?}"),
    }
}

/// What the peer was told to have, and what it told of its snapshot, is written before the first
/// batch leaves, once.
#[tokio::test]
async fn what_is_learnt_is_written_before_a_batch_leaves() {
    let (own, peer) = friends();
    own.put("a/v/r", "1");
    let export =
        Export { grant: grant(&own, &peer, Operation::Pull, "**"), entries: entries(&own), key: key() };
    let before = generation(&own);
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting).serving("peer");
    let sealed = async |host: &mut VaultHost<'_>| match host.perform(Task::Export(export.clone())).await {
        Ok(TaskResult::Sealed(sealed)) => sealed,
        other => panic!("{other:?}"),
    };
    sealed(&mut host).await;
    assert_eq!(generation(&own), before, "nothing is learnt");
    host.notify(Event::Edition(Edition { generation: 4, stamp: None })).await.unwrap();
    sealed(&mut host).await;
    assert_eq!(generation(&own), before + 1);
    assert_eq!(own.opened_again().lock().stronghold().peers().get(&peer.device()).unwrap().generation, 4);
    host.notify(Event::PeerHolds(vec![revision(1), revision(2)])).await.unwrap();
    let third = sealed(&mut host).await;
    assert_eq!((generation(&own), known(&own, &peer, &[1, 2, 3])), (before + 2, vec![true, true, false]));
    host.notify(Event::PeerHolds(vec![revision(1), revision(2)])).await.unwrap();
    sealed(&mut host).await;
    assert_eq!(generation(&own), before + 2, "nothing of it is new");

    // Each batch has its number, and is for this request of this peer.
    let secret = || RecipientSecretKey::from_bytes(&[3; 32]).unwrap();
    for (binding, passed, expected) in [(BINDING, 2, true), (BINDING, 0, false), ([8; 32], 2, false)] {
        let awaited = ComplementReceiver::new(secret(), public(&own), peer.device(), request_of(&binding));
        let mut awaited = awaited.with_taken(passed);
        assert_eq!(awaited.open(third.clone()).is_ok(), expected, "{passed}");
    }
}

#[tokio::test]
async fn what_may_not_leave_or_has_no_key_is_somebodys_fault() {
    let (own, peer) = friends();
    own.put("a/v/r", "1");
    let grant = grant(&own, &peer, Operation::Pull, "**");
    let export = Export { grant, entries: entries(&own), key: key() };
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    let refused =
        Export { key: RecipientKey::new(vec![0; key().as_bytes().len()]).unwrap(), ..export.clone() };
    let failed = |failure| Err(failure);
    assert_eq!(
        host.perform(Task::Export(refused)).await,
        failed(TaskError::Peer(PeerMisbehaved::BadKey)),
        "no point of the curve"
    );
    own.change(|stronghold| stronghold.policy_mut().revoke(&peer.device()));
    assert_eq!(host.perform(Task::Export(export)).await, failed(TaskError::NotPermitted));
    assert!(host.error.is_none());
    // This side's own fault is kept, with its reason.
    std::fs::remove_file(own.path()).unwrap();
    let scope = Scope::of(stronghold_sync::Selection::everything());
    assert_eq!(host.perform(Task::Shapes(scope)).await, failed(TaskError::Local));
    assert!(matches!(host.error, Some(HostError::Home(_))));
}

/// A batch of these, sealed by `from` for the host that `key` is of.
fn sealed(from: &Device, to: &Device, entries: &[Entry], index: u64) -> Vec<u8> {
    let key = RecipientPublicKey::from_bytes(key().as_bytes()).unwrap();
    let home = from.home.lock();
    let identity = home.stronghold().identity();
    let manifest =
        Manifest { sender: identity.device(), receiver: to.device(), request: request_of(&BINDING), index };
    seal_complement(entries, &key, identity, &manifest).unwrap()
}

fn exported(from: &Device, to: &Device) -> Vec<Entry> {
    let (all, grant) = (entries(from), grant(from, to, Operation::Pull, "**"));
    from.home.lock().stronghold().export(&grant, &all, now()).unwrap()
}
