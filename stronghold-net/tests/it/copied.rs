//! Two snapshots of one identity are reported where both are used; a snapshot that is cut off,
//! restored or used twice at a time is not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::common::{Device, KEY, friends, opened};
use stronghold_net::{
    BoxFuture, Channel, Direction, Expect, Peer, PeerError, PlanDecision, SessionHandler, SharedVault,
    SyncRequest, Trust,
};
use stronghold_snapshot::{Unlock, VaultFile};
use stronghold_sync::{DeviceId, Plan, Selection, Timestamp, session::Duplicate};
use stronghold_vault::Labels;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

/// A handler that notes reports of copies.
#[derive(Default)]
struct Listening {
    told: Vec<Duplicate>,
    dry: bool,
}

impl SessionHandler for Listening {
    fn on_duplicate(&mut self, _: DeviceId, whose: Duplicate) {
        self.told.push(whose);
    }

    fn review_plan(&mut self, _: &Plan) -> BoxFuture<PlanDecision> {
        let decision = if self.dry { PlanDecision::Stop } else { PlanDecision::ProceedWithDeletions };
        Box::pin(std::future::ready(decision))
    }
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Sync(Direction),
    DryRun,
    Browse,
    Fetch,
    Import,
}

const REQUESTS: [Request; 8] = [
    Request::Sync(Direction::Both),
    Request::Sync(Direction::Both),
    Request::Sync(Direction::Pull),
    Request::Sync(Direction::Push),
    Request::DryRun,
    Request::Browse,
    Request::Fetch,
    Request::Import,
];

/// Carries both sides' bytes until a total number of bytes.
async fn carry(near: DuplexStream, far: DuplexStream, mut left: usize) -> io::Result<()> {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (split(near), split(far));
    let (mut there, mut back) = ([0; 512], [0; 512]);
    while left > 0 {
        let count = tokio::select! {
            read = near_in.read(&mut there) => {
                let count = read?.min(left);
                far_out.write_all(&there[..count]).await?;
                count
            }
            read = far_in.read(&mut back) => {
                let count = read?.min(left);
                near_out.write_all(&back[..count]).await?;
                count
            }
        };
        match count {
            0 => return Ok(()),
            count => left -= count,
        }
    }
    Ok(())
}

/// Runs one session over a connection that is cut after a number of bytes. Returns how it ended,
/// and each side's reports.
async fn session(
    asker: &SharedVault,
    asked: &SharedVault,
    request: Request,
    bytes: usize,
) -> (Result<(), PeerError>, [Vec<Duplicate>; 2]) {
    let (own, other) = (asker.identity(), asked.identity());
    let known = own.device();
    let ((near, through), (onward, far)) = (duplex(1 << 16), duplex(1 << 16));
    let mut here = Listening { dry: matches!(request, Request::DryRun), ..Listening::default() };
    let mut there = Listening::default();
    let asking = async {
        let channel = Channel::connect(near, &own, Expect::Device(other.device())).await?;
        let (peer, all) = (Peer::from_channel(channel, asker), Selection::everything());
        match request {
            Request::Sync(ways) => peer.sync(SyncRequest::new(all, ways), &mut here).await,
            Request::DryRun => peer.sync(SyncRequest::new(all, Direction::Both), &mut here).await,
            Request::Browse => return peer.browse(all, &mut here).await.map(drop),
            Request::Fetch => peer.fetch(all, &mut here).await,
            Request::Import => peer.import(all, &mut here).await,
        }
        .map(drop)
    };
    let answering = async {
        let channel = Channel::accept(far, &other, Trust::known(move |device| *device == known)).await?;
        Peer::from_channel(channel, asked).answer(&mut there).await.map(drop)
    };
    let (asking, answering, _) = tokio::join!(asking, answering, carry(through, onward, bytes));
    (asking.and(answering), [here.told, there.told])
}

fn home(path: &Path) -> SharedVault {
    SharedVault::new(VaultFile::open(path, &Unlock::Key(&KEY)).unwrap())
}

fn put(home: &SharedVault, value: &str) {
    let location = format!("c/v/{}", value.len() % 3).parse().unwrap();
    let write = |stronghold: &mut stronghold_vault::Stronghold| {
        Ok(stronghold.write(&location, value.as_bytes(), Labels::new(), Timestamp::from_millis(1))?)
    };
    home.lock().update(write).unwrap();
}

/// A device's file, and the backups that take its place one after the other.
struct Restored {
    path: PathBuf,
    backups: Vec<Vec<u8>>,
    before: Option<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Restored {
    fn of(device: &Device) -> Self {
        Self { path: device.path(), backups: vec![device.bytes()], before: None }
    }

    fn back_up(&mut self) {
        self.backups.push(fs::read(&self.path).unwrap());
    }

    fn restore(&mut self, age: usize) {
        let left = self.backups.len().saturating_sub(age).max(1);
        self.backups.truncate(left);
        self.before = Some((fs::read(&self.path).unwrap(), self.backups.clone()));
        fs::write(&self.path, &self.backups[left - 1]).unwrap();
    }

    fn mend(&mut self) {
        if let Some((file, backups)) = self.before.take() {
            fs::write(&self.path, file).unwrap();
            self.backups = backups;
        }
    }
}

/// A pseudorandom number generator.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % most).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn one_honest_device_is_never_called_two() {
    let mut whole = 0;
    for seed in 0..8 {
        let (mut dice, (one, other)) = (Dice(seed), friends());
        let mut files = [Restored::of(&one), Restored::of(&other)];
        for round in 0..40 {
            let homes = [home(&one.path()), home(&other.path())];
            put(&homes[dice.up_to(2)], &"x".repeat(round + 1));
            let (asker, asked) = if dice.up_to(2) == 0 { (0, 1) } else { (1, 0) };
            let request = REQUESTS[dice.up_to(8)];
            let mut cut = || if dice.up_to(2) == 0 { usize::MAX } else { dice.up_to(14_000) };
            let (first, second) = (cut(), cut());
            let both = dice.up_to(4) == 0;
            let sessions = async {
                let one = session(&homes[asker], &homes[asked], request, first);
                match both {
                    false => vec![one.await],
                    true => {
                        let two =
                            session(&homes[asker], &homes[asked], Request::Sync(Direction::Both), second);
                        let (one, two) = tokio::join!(one, two);
                        vec![one, two]
                    }
                }
            };
            for (ended, told) in sessions.await {
                whole += usize::from(ended.is_ok());
                assert_eq!(told, [vec![], vec![]], "{seed}, {round}: {request:?} {first} {second}");
            }
            let which = &mut files[dice.up_to(2)];
            match dice.up_to(8) {
                0 => which.restore(dice.up_to(6)),
                1 => which.mend(),
                _ => which.back_up(),
            }
        }
    }
    assert!(whole > 100, "{whole} whole sessions");
}

#[tokio::test]
async fn of_two_copies_that_are_used_by_turns_both_sides_are_told() {
    for (the_copied_asks, before) in [(true, 0), (true, 3), (false, 0), (false, 3)] {
        let (device, peer) = friends();
        let meet = async |copied: &SharedVault, value: &str| {
            put(copied, value);
            let sync = Request::Sync(Direction::Both);
            let (ended, [here, there]) = match the_copied_asks {
                true => session(copied, &peer.home, sync, usize::MAX).await,
                false => session(&peer.home, copied, sync, usize::MAX).await,
            };
            ended.unwrap();
            if the_copied_asks { (here, there) } else { (there, here) }
        };
        for round in 0..before {
            assert_eq!(meet(&device.home, &"x".repeat(round + 1)).await, (vec![], vec![]));
        }
        let copy = tempfile::TempDir::new().unwrap();
        fs::copy(device.path(), copy.path().join("snapshot")).unwrap();
        let copy = opened(copy.path());
        for (turn, home) in [&device.home, &copy, &device.home, &copy, &device.home].into_iter().enumerate() {
            let told = meet(home, &"y".repeat(turn + 1)).await;
            let expected = match turn {
                0..3 => (vec![], vec![]),
                _ => (vec![Duplicate::Ours], vec![Duplicate::Theirs]),
            };
            assert_eq!(told, expected, "the copied asks: {the_copied_asks}, {before} before, turn {turn}");
        }
    }
}
