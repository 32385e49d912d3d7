//! The agent's side: holds the key, answers commands of the same user, and wipes the key when its
//! time is over, the computer was suspended, or another file is in the snapshot's place.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stronghold_snapshot::Inspection;
use stronghold_vault::{LockedKey, wipe_stack};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::timeout,
};
use zeroize::Zeroizing;

use super::place::{Place, user};
use super::protocol::{Asked, HoldTime, Left, REQUEST_LEN, Reply, Request, Unread};

/// Time for what ran with a key to stop; and half of that in which a command has to send its
/// request and take the reply.
const EXCHANGE: Duration = Duration::from_secs(2);
/// Longest time between two checks of the clock and the file.
const TICK: Duration = Duration::from_secs(10);
/// Time after which an agent that was never given a key ends.
const WITHOUT_KEY: Duration = Duration::from_secs(60);
/// Time that the computer may have slept unnoticed: the clocks are not read at the same instant.
const NAP: Duration = Duration::from_secs(2);
/// Maximum number of commands that are answered at once.
const MAX_COMMANDS: usize = 64;

/// A moment by two clocks, each as the time since the computer started.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Runs while the computer is suspended.
    boot: Duration,
    /// Stands still meanwhile.
    awake: Duration,
}

/// Something that runs as long as the key is held: it is told to stop, and waited for.
pub(crate) struct Companion {
    pub(crate) stop: Arc<Notify>,
    pub(crate) task: JoinHandle<()>,
}

/// A key in use.
struct Held {
    key: LockedKey,
    /// Id of the snapshot that the key opens.
    file_id: [u8; 16],
    time: HoldTime,
    since: Moment,
    used: Moment,
    companion: Option<Companion>,
}

/// Starts what runs as long as a key is held.
pub(crate) type StartCompanion = Box<dyn Fn(LockedKey) -> Option<Companion> + Send + Sync>;

/// The agent of one snapshot.
pub(crate) struct Holder {
    place: Place,
    held: Mutex<Option<Held>>,
    started: Moment,
    ended: Notify,
    start_companion: StartCompanion,
}

impl Moment {
    fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};
        let read = |clock| {
            let time = clock_gettime(clock);
            Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
        };
        #[cfg(target_os = "linux")]
        let boot = read(ClockId::Boottime);
        #[cfg(not(target_os = "linux"))]
        let boot = read(ClockId::Monotonic);
        Self { boot, awake: read(ClockId::Monotonic) }
    }

    fn since(self, earlier: Self) -> Duration {
        self.boot.saturating_sub(earlier.boot)
    }

    fn slept(self) -> Duration {
        self.boot.saturating_sub(self.awake)
    }
}

impl Held {
    /// Returns the time that is left, or `None` if it is over.
    fn left(&self, now: Moment) -> Option<Left> {
        let left = |limit: Option<Duration>, since: Moment| {
            let left = limit.map(|limit| limit.checked_sub(now.since(since)).filter(|left| !left.is_zero()));
            match left {
                Some(None) => Err(()),
                Some(left) => Ok(left),
                None => Ok(None),
            }
        };
        let is_awake = now.slept().saturating_sub(self.since.slept()) < NAP;
        let (idle, total) = (left(self.time.idle, self.used), left(self.time.total, self.since));
        is_awake.then_some(Left { idle: idle.ok()?, total: total.ok()? })
    }

    /// Checks that the file at `path` is the one that the key was given for.
    fn is_for(&self, path: &Path) -> bool {
        Inspection::of(path).is_ok_and(|found| found.file_id == self.file_id)
    }
}

impl Holder {
    pub(crate) fn new(place: Place, start_companion: StartCompanion) -> Arc<Self> {
        let held = Mutex::new(None);
        Arc::new(Self { place, held, started: Moment::now(), ended: Notify::new(), start_companion })
    }

    /// Answers commands until the key is wiped. Ends without a key if none is given in a minute.
    pub(crate) async fn run(self: &Arc<Self>, listener: UnixListener) {
        let places = Arc::new(Semaphore::new(MAX_COMMANDS));
        loop {
            tokio::select! {
                () = self.ended.notified() => return self.wipe().await,
                () = tokio::time::sleep(self.next_check()) => {
                    if self.is_over(Moment::now()) {
                        return self.wipe().await;
                    }
                }
                accepted = listener.accept() => {
                    let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().try_acquire_owned()) else {
                        // Nothing is left for this one; the others go on.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    };
                    let holder = self.clone();
                    tokio::spawn(async move {
                        let _ = timeout(2 * EXCHANGE, holder.answer(stream)).await;
                        drop(place);
                    });
                }
            }
        }
    }

    /// Wipes the key, and waits until its companion has stopped.
    pub(crate) async fn wipe(&self) {
        let companion = self.held().take().and_then(|held| held.companion);
        if let Some(companion) = companion {
            companion.stop.notify_one();
            let _ = timeout(EXCHANGE, companion.task).await;
        }
    }

    async fn answer(self: &Arc<Self>, mut stream: UnixStream) -> std::io::Result<()> {
        if stream.peer_cred()?.uid() != user() {
            return Ok(());
        }
        let mut bytes = Zeroizing::new([0; REQUEST_LEN]);
        stream.read_exact(&mut *bytes).await?;
        let mut is_over = false;
        let reply = match Request::from_bytes(&bytes) {
            Ok(request) => {
                is_over = matches!(request.asked, Asked::Lock);
                if let Asked::Hold(..) = request.asked {
                    // What ran with the key before may be in the way of what is started now.
                    self.wipe().await;
                }
                // Reads the file's header.
                let holder = self.clone();
                tokio::task::spawn_blocking(move || holder.reply(request, Moment::now()))
                    .await
                    .map_err(std::io::Error::other)?
            }
            Err(Unread::Version(_)) => Reply::OtherVersion,
            Err(Unread::Malformed) => Reply::Malformed,
        };
        // A key whose time is over is gone before anyone hears of it.
        is_over |= matches!(reply, Reply::Locked) && self.held().is_some();
        if is_over {
            self.wipe().await;
        }
        let sent = stream.write_all(&**reply.to_bytes()).await;
        wipe_stack();
        if is_over {
            self.ended.notify_one();
        }
        sent
    }

    fn reply(&self, request: Request, now: Moment) -> Reply {
        match request.asked {
            Asked::Lock => Reply::Locked,
            _ if request.snapshot != self.place.name() => Reply::OtherSnapshot,
            Asked::Hold(key, time) => self.hold(key, time, now),
            Asked::Key => self.use_key(now),
            Asked::Status => self.left(now).map_or(Reply::Locked, Reply::Held),
        }
    }

    fn hold(&self, key: LockedKey, time: HoldTime, now: Moment) -> Reply {
        let Ok(found) = Inspection::of(&self.place.snapshot) else { return Reply::Malformed };
        let companion = (self.start_companion)(LockedKey::new(key.expose()));
        let held = Held { key, file_id: found.file_id, time, since: now, used: now, companion };
        let left = held.left(now);
        *self.held() = Some(held);
        left.map_or(Reply::Malformed, Reply::Held)
    }

    fn use_key(&self, now: Moment) -> Reply {
        if self.left(now).is_none() {
            return Reply::Locked;
        }
        let mut held = self.held();
        let Some(held) = &mut *held else { return Reply::Locked };
        held.used = now;
        match held.left(now) {
            Some(left) => Reply::Key(LockedKey::new(held.key.expose()), left),
            None => Reply::Locked,
        }
    }

    /// Returns the time that is left; `None` if there is no key, or its time is over.
    fn left(&self, now: Moment) -> Option<Left> {
        let held = self.held();
        held.as_ref().filter(|held| held.is_for(&self.place.snapshot))?.left(now)
    }

    /// Returns whether the key is to be wiped, or was never given.
    fn is_over(&self, now: Moment) -> bool {
        let has_key = self.held().is_some();
        match has_key {
            true => self.left(now).is_none(),
            false => now.since(self.started) >= WITHOUT_KEY,
        }
    }

    /// Returns the time until the next check: a suspended computer's clocks need one now and then.
    fn next_check(&self) -> Duration {
        let now = Moment::now();
        let left = self.held().as_ref().and_then(|held| held.left(now));
        let left = left.into_iter().flat_map(|left| [left.idle, left.total]).flatten().min();
        left.unwrap_or(TICK).min(TICK)
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use stronghold_snapshot::{NewSlot, VaultFile};
    use stronghold_vault::Stronghold;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Returns the moment so many seconds after the start, of which `slept` were spent suspended.
    fn at(seconds: u64, slept: u64) -> Moment {
        let boot = Duration::from_secs(seconds);
        Moment { boot, awake: boot - Duration::from_secs(slept) }
    }

    fn held(idle: Option<Duration>, total: Option<Duration>) -> Held {
        let (key, file_id) = (LockedKey::new(&[7; 32]), [0; 16]);
        let time = HoldTime { idle, total };
        Held { key, file_id, time, since: at(100, 50), used: at(160, 50), companion: None }
    }

    #[test]
    fn a_key_is_held_until_its_time_is_over() {
        let total = |left: Held, now| left.left(now).map(|left| (left.idle, left.total));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(total(held(None, None), at(1 << 40, 50)), Some((None, None)));
        let both = || held(Some(MINUTE), Some(2 * MINUTE));
        assert_eq!(total(both(), at(160, 50)), Some((seconds(60), seconds(60))));
        assert_eq!(total(both(), at(219, 50)), Some((seconds(1), seconds(1))));
        assert_eq!(total(both(), at(220, 50)), None);
        assert_eq!(total(held(Some(MINUTE), None), at(219, 50)), Some((seconds(1), None)));
        assert_eq!(total(held(Some(MINUTE), None), at(220, 50)), None);
        assert_eq!(total(held(None, Some(MINUTE)), at(159, 50)), Some((None, seconds(1))));
        assert_eq!(total(held(None, Some(MINUTE)), at(160, 50)), None);
    }

    /// Time counts while the computer sleeps, and a key does not outlast a sleep in any case.
    #[test]
    fn a_key_is_not_held_over_a_sleep() {
        assert!(held(None, None).left(at(200, 51)).is_some(), "the clocks differ by a bit");
        assert!(held(None, None).left(at(200, 52)).is_none());
        assert!(held(None, None).left(at(100_000, 99_000)).is_none());
    }

    struct Snapshot {
        folder: tempfile::TempDir,
        holder: Arc<Holder>,
    }

    fn create(path: &Path) {
        VaultFile::create(path, &[NewSlot::Key(&[7; 32])], Stronghold::new("own").unwrap()).unwrap();
    }

    fn snapshot() -> Snapshot {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        create(&path);
        let place = Place { snapshot: path, socket: folder.path().join("socket") };
        Snapshot { folder, holder: Holder::new(place, Box::new(|_| None)) }
    }

    impl Snapshot {
        fn ask(&self, asked: Asked, now: Moment) -> Reply {
            self.holder.reply(Request { snapshot: self.holder.place.name(), asked }, now)
        }

        fn hold(&self, now: Moment) {
            let time = HoldTime { idle: Some(MINUTE), total: Some(10 * MINUTE) };
            assert!(matches!(self.ask(Asked::Hold(LockedKey::new(&[7; 32]), time), now), Reply::Held(_)));
        }
    }

    #[test]
    fn a_use_counts_and_a_question_does_not() {
        let snapshot = snapshot();
        assert!(matches!(snapshot.ask(Asked::Key, at(0, 0)), Reply::Locked));
        snapshot.hold(at(0, 0));
        assert!(matches!(snapshot.ask(Asked::Status, at(59, 0)), Reply::Held(_)));
        let Reply::Key(key, left) = snapshot.ask(Asked::Key, at(59, 0)) else { panic!("it is held") };
        assert_eq!((key.expose(), left.idle), (&[7; 32], Some(MINUTE)));
        assert!(matches!(snapshot.ask(Asked::Status, at(118, 0)), Reply::Held(_)));
        assert!(!snapshot.holder.is_over(at(118, 0)));
        assert!(snapshot.holder.is_over(at(119, 0)));
        for asked in [Asked::Key, Asked::Status] {
            assert!(matches!(snapshot.ask(asked, at(119, 0)), Reply::Locked));
        }
    }

    #[test]
    fn another_snapshots_command_gets_nothing() {
        let snapshot = snapshot();
        snapshot.hold(at(0, 0));
        for asked in [Asked::Key, Asked::Status] {
            let request = Request { snapshot: [1; 32], asked };
            assert!(matches!(snapshot.holder.reply(request, at(1, 0)), Reply::OtherSnapshot));
        }
    }

    #[test]
    fn another_file_in_its_place_ends_it() {
        let snapshot = snapshot();
        let path = snapshot.folder.path().join("vault");
        snapshot.hold(at(0, 0));
        let own = std::fs::read(&path).unwrap();
        let other = snapshot.folder.path().join("other");
        create(&other);
        // The same file under another inode is the same snapshot.
        std::fs::write(snapshot.folder.path().join("copy"), &own).unwrap();
        std::fs::rename(snapshot.folder.path().join("copy"), &path).unwrap();
        assert!(!snapshot.holder.is_over(at(1, 0)));
        for bytes in [std::fs::read(&other).unwrap(), Vec::new(), b"text".to_vec()] {
            std::fs::write(&path, bytes).unwrap();
            assert!(snapshot.holder.is_over(at(1, 0)));
            assert!(matches!(snapshot.ask(Asked::Key, at(1, 0)), Reply::Locked));
            std::fs::write(&path, &own).unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        assert!(snapshot.holder.is_over(at(1, 0)));
    }

    #[test]
    fn an_agent_without_a_key_ends_after_a_minute() {
        let snapshot = snapshot();
        let started = snapshot.holder.started;
        let later = |time| Moment { boot: started.boot + time, awake: started.awake + time };
        assert!(!snapshot.holder.is_over(later(MINUTE - Duration::from_secs(1))));
        assert!(snapshot.holder.is_over(later(MINUTE)));
    }

    #[test]
    fn the_clock_is_read_at_the_end_of_the_time_and_now_and_then_before() {
        let snapshot = snapshot();
        assert_eq!(snapshot.holder.next_check(), TICK);
        let now = Moment::now();
        snapshot.hold(now);
        assert_eq!(snapshot.holder.next_check(), TICK);
        let time = HoldTime { idle: Some(Duration::from_secs(5)), total: None };
        snapshot.ask(Asked::Hold(LockedKey::new(&[7; 32]), time), now);
        assert!(snapshot.holder.next_check() <= Duration::from_secs(5));
    }
}
