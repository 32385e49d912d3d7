//! What the log counts together, what it keeps, and what it notices.

use super::{checkpoint::tampered, *};

fn decided(device: u8, allowed: bool) -> Decided {
    Decided {
        time: 1,
        device: DeviceId::from_bytes([device; 32]),
        deed: Deed::Pull,
        selection: "wallet/**".into(),
        allowed,
        entries: 0,
        bytes: 0,
    }
}

fn counts(log: &AuditLog) -> Vec<u64> {
    log.entries().map(|logged| logged.count).collect()
}

fn encoded(log: &AuditLog) -> usize {
    rmp_serde::to_vec(log).unwrap().len()
}

#[test]
fn equal_decisions_of_one_device_and_day_are_one_entry() {
    let mut log = AuditLog::default();
    for time in 0..1000 {
        log.append(Decided { time, ..decided(1, false) });
        log.append(Decided { time, entries: 2, bytes: 10, ..decided(2, true) });
    }
    assert_eq!(counts(&log), [1000, 1000]);
    log.append(decided(1, true));
    log.append(Decided { time: DAY - 1, ..decided(1, false) });
    log.append(Decided { deed: Deed::Browse, ..decided(1, false) });
    assert_eq!(counts(&log), [1001, 1000, 1, 1]);
    log.append(Decided { time: DAY, ..decided(1, false) });
    assert_eq!(counts(&log), [1001, 1000, 1, 1, 1], "another day");
    let other = log.entries().nth(1).unwrap();
    assert_eq!((other.first, other.last, other.entries, other.bytes), (0, 999, 2000, 10_000));
    assert!(log.is_intact());
}

#[test]
fn a_long_selection_is_cut_and_told_apart_by_its_hash() {
    let mut log = AuditLog::default();
    let long = "\u{e9}".repeat(60_000);
    for end in ["a", "a", "b"] {
        log.append(Decided { selection: format!("{long}{end}"), ..decided(1, true) });
    }
    log.append(Decided { selection: "\u{e9}".repeat(SHOWN), ..decided(1, true) });
    assert_eq!(counts(&log), [2, 1, 1]);
    let [one, other, short] = [0, 1, 2].map(|at| log.entries().nth(at).unwrap());
    assert_eq!((one.selection.chars().count(), &one.selection), (SHOWN, &other.selection));
    assert!(one.whole.is_some() && one.whole != other.whole && short.whole.is_none());
    assert_eq!(one.whole.unwrap().as_bytes()[..], Sha256::digest(format!("{long}a"))[..]);
}

/// A device that asks in ever new words gets no further than its entries of the day; no other device loses one by it.
#[test]
fn one_device_can_not_fill_the_log() {
    let mut log = AuditLog::default();
    log.append(decided(2, true));
    for number in 0..20_000 {
        log.append(Decided { selection: format!("{number:0300}"), ..decided(1, number % 2 == 0) });
    }
    assert_eq!(log.entries().count(), 1 + OWN_WORDS + 2);
    assert_eq!(log.entries().map(|logged| logged.count).sum::<u64>(), 20_001);
    assert!(log.is_intact() && log.folded().is_empty() && encoded(&log) < 40_000);
    let further = |log: &AuditLog| log.entries().last().unwrap().whole;
    let before = further(&log);
    log.append(Decided { selection: "yet another".into(), ..decided(1, false) });
    assert_ne!(further(&log), before);
}

#[test]
fn the_oldest_entries_become_sums_and_nothing_is_uncounted() {
    let mut log = AuditLog::default();
    for day in 0..250 {
        for number in 0..40 {
            let time = day * DAY + number;
            let selection = format!("{number:0400}");
            log.append(Decided {
                time,
                selection,
                entries: 1,
                bytes: 3,
                ..decided(1 + (day % 2) as u8, true)
            });
        }
    }
    let kept: u64 = counts(&log).iter().sum();
    let folded: u64 = log.folded().iter().map(|sum| sum.count).sum();
    assert_eq!((kept + folded, log.folded().len()), (10_000, 2));
    assert!(folded > 4_000 && kept > 3_000, "{folded} and {kept}");
    assert!((MAX_BYTES * 3 / 4..=MAX_BYTES).contains(&encoded(&log)), "{}", encoded(&log));
    assert_eq!((log.folded()[0].first, log.folded()[0].bytes), (0, 3 * log.folded()[0].count));
    assert!(log.is_intact());

    let stored = rmp_serde::to_vec(&log).unwrap();
    let loaded = || rmp_serde::from_slice::<AuditLog>(&stored).unwrap();
    assert!(loaded().is_intact());
    for tamper in tampered() {
        let mut log = loaded();
        tamper(&mut log.checkpoint);
        assert!(!log.is_intact());
    }
}

#[test]
fn every_field_of_an_entry_is_in_the_chain() {
    let log = || {
        let mut log = AuditLog::default();
        (1..4).for_each(|device| log.append(Decided { selection: "x".repeat(300), ..decided(device, true) }));
        log
    };
    assert!(log().is_intact());
    let changes: [fn(&mut Logged); 10] = [
        |logged| logged.device = DeviceId::from_bytes([9; 32]),
        |logged| logged.deed = Deed::Push,
        |logged| logged.selection.push('x'),
        |logged| logged.whole = Some(Whole::of([b"other", b""])),
        |logged| logged.allowed = false,
        |logged| logged.count += 1,
        |logged| logged.first += 1,
        |logged| logged.last += 1,
        |logged| logged.entries += 1,
        |logged| logged.bytes += 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for at in 0..3 {
            let mut log = log();
            change(&mut log.entries[at].logged);
            assert!(!log.is_intact(), "change {number} of entry {at}");
        }
    }
    let mut without = log();
    without.entries.remove(1);
    assert!(!without.is_intact());
    let mut exchanged = log();
    exchanged.entries.swap(0, 1);
    assert!(!exchanged.is_intact());
}

#[test]
fn what_was_collected_elsewhere_is_counted_as_if_here() {
    let (mut log, mut collected) = (AuditLog::default(), AuditLog::default());
    log.append(decided(1, false));
    (0..5).for_each(|_| collected.append(decided(1, false)));
    collected.append(decided(2, true));
    assert!(!collected.is_empty());
    log.absorb(&collected);
    assert_eq!(counts(&log), [6, 1]);
    assert!(log.is_intact() && AuditLog::default().is_empty());
}
