//! Runs the fuzz targets on their seeds, as regression tests.

use std::{fs, path::Path};

use stronghold_net::mailbox::{Card, Letter};
use stronghold_snapshot::RecipientSecretKey;
use stronghold_sync::{
    Edition, Stamp, Timestamp,
    mailbox::{Order, Point},
};

use self::runner::each_seed;

#[macro_use]
#[path = "../../../stronghold-sync/tests/it/seeds/runner.rs"]
mod runner;

#[path = "../../fuzz/fuzz_targets/card.rs"]
mod card;
#[path = "../../fuzz/fuzz_targets/letter.rs"]
mod letter;

/// Returns the folder of a target's seeds if they are to be rewritten.
fn rewritten(target: &str) -> Option<std::path::PathBuf> {
    std::env::var_os("STRONGHOLD_WRITE_SEEDS")?;
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target))
}

#[test]
fn card() {
    if let Some(folder) = rewritten("card") {
        let key = RecipientSecretKey::from_bytes(&[6; 32]).unwrap().public();
        let none = Point::default();
        let (first, last) = (Point { number: 1, id: [1; 8] }, Point { number: u64::MAX, id: [0xff; 8] });
        let seen = Edition { generation: u64::MAX, stamp: Some(Stamp::from_bytes([0xff; 8])) };
        for (name, taken, damaged, seen, time) in [
            ("first", none, none, Edition::default(), Timestamp::default()),
            ("taken", first, none, Edition::default(), Timestamp::from_millis(1)),
            ("damaged", first, last, seen, Timestamp::MAX),
        ] {
            let card = Card { taken, damaged, seen, time, key: key.clone() };
            fs::write(folder.join(name), card.to_content().unwrap()).unwrap();
        }
    }
    each_seed("card", card::try_bytes);
    each_seed("card", |bytes| _ = Card::parse(bytes).unwrap());
}

/// Checks that a letter whose entries nobody signed is parsed, and its order read.
#[test]
fn letter() {
    fn point(number: u64) -> Point {
        Point { number, id: [number as u8; 8] }
    }
    if let Some(folder) = rewritten("letter") {
        for (name, after) in [("first", 0), ("second", 1), ("late", 9)] {
            let after: Vec<Point> = (0..after).map(point).collect();
            let edition = Edition { generation: 7, stamp: None };
            let order = Order { point: point(10), after, sealed: edition, seen: edition };
            let mut content = Letter::head(&order).unwrap();
            content.extend_from_slice(b"no complement");
            fs::write(folder.join(name), content).unwrap();
        }
    }
    each_seed("letter", letter::try_bytes);
    each_seed("letter", |bytes| assert_eq!(Letter::parse(bytes, "").unwrap().order().point, point(10)));
}
