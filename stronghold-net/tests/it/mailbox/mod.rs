//! Tests the exchange of two devices through a mailbox: what it carries and costs, and that no store
//! makes it lose, repeat or disclose anything.

mod costs;
mod direct;
mod hostile;
mod restored;
mod rules;
mod store;

use stronghold_net::{
    NoHandler, SessionHandler, SharedVault,
    mailbox::{Exchange, ExchangeError, Exchanged, Store},
};
use stronghold_sync::{DeviceId, Operation, Timestamp};

use self::store::Memory;
use crate::common::{ALL, Device, friends};

/// The operations that let two devices synchronise.
const SYNC: &[Operation] = &[Operation::Pull, Operation::Push, Operation::Delete];

/// Runs one exchange with the device `peer`.
async fn run(home: &SharedVault, store: &dyn Store, peer: DeviceId) -> Result<Exchanged, ExchangeError> {
    run_with(home, store, peer, &mut NoHandler).await
}

async fn run_with(
    home: &SharedVault,
    store: &dyn Store,
    peer: DeviceId,
    handler: &mut dyn SessionHandler,
) -> Result<Exchanged, ExchangeError> {
    let mut exchange = Exchange::new(home, store, peer).await?;
    exchange.run(handler).await?;
    Ok(exchange.into_done())
}

/// Two devices with a mailbox.
struct Two {
    one: Device,
    two: Device,
    store: Memory,
}

impl Two {
    /// Two devices that grant each other everything.
    fn new() -> Self {
        let (one, two) = friends();
        Self::of(one, two)
    }

    fn of(one: Device, two: Device) -> Self {
        let (first, second) = (one.device(), two.device());
        one.change(|here| assert_eq!(here.peers_mut().set_mailbox_place(&second, "/a"), None));
        two.change(|here| assert_eq!(here.peers_mut().set_mailbox_place(&first, "/b"), None));
        Self { one, two, store: Memory::default() }
    }

    async fn one(&self) -> Exchanged {
        run(&self.one.home, &self.store, self.two.device()).await.unwrap()
    }

    async fn two(&self) -> Exchanged {
        run(&self.two.home, &self.store, self.one.device()).await.unwrap()
    }

    /// Both run in turn until neither has anything to do.
    async fn settle(&self) {
        for _ in 0..8 {
            let (one, two) = (self.one().await, self.two().await);
            if [one, two].iter().all(|done| done.outcome.summary.round_trips == 1) {
                return;
            }
        }
        panic!("they never come to an end");
    }

    fn assert_equal(&self) {
        assert_eq!(self.one.entries(), self.two.entries());
    }
}

#[tokio::test]
async fn two_devices_that_never_meet_hold_the_same() {
    let pair = Two::new();
    let (one, two) = (&pair.one, &pair.two);
    one.put_all((0..2_500).map(|at| (format!("a/v/{at}"), format!("value {at}"))));
    two.put("b/v/1", "of the second");
    assert!(pair.one().await.awaits_card, "nothing is sent before the other one has a key there");
    let first = pair.two().await;
    assert_eq!((first.letters_sent, first.outcome.summary.sent), (1, 1));
    let taken = pair.one().await;
    assert_eq!((taken.outcome.summary.received, taken.letters_sent), (1, 3));
    let taken = pair.two().await;
    assert_eq!((taken.letters_taken, taken.outcome.summary.received), (3, 2_500));
    pair.assert_equal();
    pair.settle().await;

    one.put("a/v/1", "edited here");
    two.put("a/v/2", "edited there");
    one.put("a/v/3", "here");
    two.put("a/v/3", "there");
    two.remove("a/v/4");
    pair.settle().await;
    pair.assert_equal();
    for device in [one, two] {
        let home = device.home.lock();
        let stronghold = home.stronghold();
        assert_eq!(
            stronghold.read(&"a/v/1".parse().unwrap()).unwrap().revision.value.to_vec(),
            b"edited here"
        );
        assert!(stronghold.read(&"a/v/3".parse().unwrap()).unwrap().conflict, "no value is lost");
        assert!(stronghold.read(&"a/v/4".parse().unwrap()).is_err(), "it stays deleted");
    }
    let step = two.home.lock().stronghold().steps().next().unwrap().word().to_owned();
    assert_eq!(step, "mailbox: peer");
    assert_eq!(pair.store.kinds(&pair), [1, 1, 0, 0], "nothing but the newest cards need stay");
}

#[tokio::test]
async fn a_device_that_is_not_paired_or_has_no_mailbox_is_an_error() {
    let (one, two) = friends();
    let store = Memory::default();
    let none = run(&one.home, &store, two.device()).await.unwrap_err();
    assert!(matches!(none, ExchangeError::NoMailbox), "{none:?}");
    let unknown = run(&one.home, &store, one.device()).await.unwrap_err();
    assert!(matches!(unknown, ExchangeError::Unpaired), "{unknown:?}");
}

#[tokio::test]
async fn nothing_is_sent_to_nor_taken_from_a_revoked_device() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "before");
    pair.one().await;
    let (device, before) = (pair.one.device(), pair.store.len());
    pair.two.change(|here| here.revoke(&device, Timestamp::from_millis(1)));
    let revoked = run(&pair.two.home, &pair.store, device).await.unwrap_err();
    assert!(matches!(revoked, ExchangeError::Unpaired), "{revoked:?}");
    assert_eq!(pair.store.len(), before);
    assert_eq!(pair.two.entries(), []);
    assert_eq!(pair.store.kinds(&pair), [1, 1, 1, 0]);
    // The first one gives up: its objects go, the other's are not its own.
    let exchange = Exchange::new(&pair.one.home, &pair.store, pair.two.device()).await.unwrap();
    let second = pair.two.device();
    pair.one.change(|here| here.revoke(&second, Timestamp::from_millis(1)));
    let cards = before as u64;
    assert!(exchange.withdraw().await.unwrap() < cards, "also after it is revoked");
    assert_eq!(pair.store.kinds(&pair), [0, 1, 0, 0]);
    assert!(pair.two.home.lock().stronghold().peers().mailbox(&device).is_none());
}

#[tokio::test]
async fn a_revocation_in_the_middle_of_an_exchange_ends_it() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    pair.one().await;
    let (device, home) = (pair.one.device(), pair.two.opened_again());
    pair.store.before_get(move || {
        _ = home
            .update(|here| {
                Ok::<_, stronghold_net::VaultFileError>(here.revoke(&device, Timestamp::from_millis(1)))
            })
            .unwrap()
    });
    let ended = run(&pair.two.home, &pair.store, device).await.unwrap_err();
    assert!(ended.to_string().contains("removed meanwhile"), "{ended}");
    assert_eq!(pair.two.entries(), []);
}

#[tokio::test]
async fn a_share_of_the_records_is_all_that_is_sent() {
    let (one, two) = (Device::new("one"), Device::new("two"));
    one.grant(&two, SYNC, "shared/**");
    two.grant(&one, ALL, "**");
    let pair = Two::of(one, two);
    pair.one.put("shared/v/1", "1");
    pair.one.put("own/v/1", "2");
    pair.two.put("own/v/2", "3");
    pair.settle().await;
    assert_eq!(pair.two.entries().len(), 2);
    assert_eq!(pair.one.entries().len(), 2, "it may not push elsewhere");
}
