//! 1,000 records that one device edits 1,000 times each: what is kept of that, and what travels.

use std::fs;

use super::{
    common::{Device, friends},
    sync,
};

const RECORDS: usize = 1_000;
const EDITS: usize = 1_000;
const BETWEEN: usize = 50;

fn names() -> impl Iterator<Item = String> {
    (0..RECORDS).map(|number| format!("home/web/site-{number:06}"))
}

/// Number of the last edits that are changes of their own. The other ones are made to all records at
/// once, to save time; that would leave steps that name all records, and their values with them.
const SINGLE: usize = 17;

fn edit(device: &Device, names: impl Iterator<Item = String>, edit: usize) {
    device.put_all(names.map(|name| (name, format!("{edit:064}"))));
}

fn kilobytes(device: &Device) -> f64 {
    fs::metadata(device.path()).unwrap().len() as f64 / 1e3 / RECORDS as f64
}

fn show(what: &str, limit: f64, reached: f64) {
    println!(
        "{what:<75} at most {limit:>6.1} {reached:>8.2} {}",
        if reached <= limit { "met" } else { "MISSED" }
    );
}

pub(super) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let meet = |one: &Device, other: &Device| {
        let outcome = runtime.block_on(sync(one, other));
        assert_eq!((one.entries(), outcome.summary.conflicts), (other.entries(), 0));
        (outcome.bytes_in + outcome.bytes_out) as f64 / 1e3
    };
    let (here, there) = friends();
    let mut before = 0.0;
    for number in 0..EDITS {
        match number + SINGLE < EDITS {
            true => edit(&here, names(), number),
            false => names().for_each(|name| edit(&here, std::iter::once(name), number)),
        }
        if (number + 1) % BETWEEN == 0 {
            before = kilobytes(&here);
            meet(&there, &here);
        }
    }
    show("kB in the file for a record, before the last meeting", 3.5, before);
    show("kB in the file for a record, after it", 3.0, kilobytes(&here));
    show("kB in the other file for a record", 3.0, kilobytes(&there));
    edit(&here, names().take(RECORDS / 100), EDITS);
    show("kB of a sync of 1 %", 12.0, meet(&there, &here));

    let (here, away) = friends();
    edit(&here, names(), 0);
    meet(&away, &here);
    (1..EDITS).for_each(|number| edit(&here, names(), number));
    show("kB in the file for a record, the other device away throughout", 12.0, kilobytes(&here));
    names().for_each(|name| here.remove(&name));
    meet(&away, &here);
    assert!(away.entries().is_empty());
    println!("{} deleted records stay deleted when the other device comes", RECORDS);
    for edits in [260, 5_000, 100_000] {
        let (here, away) = friends();
        here.put("home/web/one", "old");
        meet(&away, &here);
        // In a few changes: only the number of revisions counts here.
        for part in 0..edits / 10 {
            here.put_all((0..10).map(|edit| ("home/web/one".to_owned(), format!("{part}-{edit}"))));
        }
        here.remove("home/web/one");
        meet(&away, &here);
        assert!(away.entries().is_empty() && here.entries().is_empty());
        println!("deleted after {edits} edits: stays deleted, no conflict");
    }
}
