//! Stronghold: in memory, and with its file.

use std::path::Path;

use stronghold_snapshot::{Merge, NewSlot, Unlock, VaultFile};
use stronghold_sync::{Location, Mapping, OnConflict, Selection, Timestamp};
use stronghold_vault::{Labels, Stronghold};

use crate::{
    MANY, RECORDS, VALUE,
    measure::{Fallible, Row, add, children, milliseconds},
    name,
};

const WHO: &str = "stronghold";
const RUNS: usize = 9;
const KEY: [u8; 32] = [3; 32];

pub(crate) fn measure(rows: &mut Vec<Row>) -> Fallible<()> {
    let names = locations(RECORDS);
    let runs = milliseconds(RUNS, || Ok(Stronghold::new("bench")?), |new| filled(new, &names))?;
    let each = runs.iter().map(|run| run * 1e3 / RECORDS as f64).collect();
    add(rows, "write 10,000 of 64 B into memory, each", WHO, "us", each);
    sync(rows, &names)?;
    files(rows)
}

fn locations(records: usize) -> Vec<Location> {
    (0..records).map(|n| Location::new_unchecked("client", "vault", &name(n))).collect()
}

fn filled(mut stronghold: Stronghold, names: &[Location]) -> Fallible<Stronghold> {
    for name in names {
        stronghold.write(name, &VALUE, Labels::new(), Timestamp::from_millis(1_700_000_000_000))?;
    }
    Ok(stronghold)
}

fn sync(rows: &mut Vec<Row>, names: &[Location]) -> Fallible<()> {
    let held = filled(Stronghold::new("bench")?, names)?;
    let mut other = copy(&held)?;
    add(rows, "local sync in memory, 10,000, unchanged", WHO, "ms", merges(&held, &other, 0)?);
    for name in names.iter().step_by(100) {
        other.write(name, &[8; 64], Labels::new(), Timestamp::from_millis(1_700_000_000_001))?;
    }
    add(rows, "local sync in memory, 10,000, 1 % differ", WHO, "ms", merges(&held, &other, RECORDS / 100)?);
    let many = filled(Stronghold::new("bench")?, &locations(MANY))?;
    add(rows, "local sync in memory, 100,000, unchanged", WHO, "ms", merges(&many, &copy(&many)?, 0)?);
    Ok(())
}

fn merges(into: &Stronghold, from: &Stronghold, expected: usize) -> Fallible<Vec<f64>> {
    let merge = Merge {
        selection: Selection::everything(),
        mapping: Mapping::default(),
        on_conflict: OnConflict::KeepBoth,
        deletions_confirmed: false,
        now: Timestamp::from_millis(1_700_000_000_002),
    };
    let run = |mut into: Stronghold| {
        let merged = merge.run(&mut into, from)?;
        if merged.received != expected as u64 {
            return Err(format!("{} received, not {expected}", merged.received).into());
        }
        Ok(into)
    };
    milliseconds(RUNS, || copy(into), run)
}

fn copy(stronghold: &Stronghold) -> Fallible<Stronghold> {
    Ok(Stronghold::from_payload(&stronghold.to_payload()?)?)
}

fn files(rows: &mut Vec<Row>) -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let [small, large] = ["small", "large"].map(|name| folder.path().join(name));
    let mut home = VaultFile::create(
        &small,
        &[NewSlot::Key(&KEY)],
        filled(Stronghold::new("bench")?, &locations(RECORDS))?,
    )?;
    let put = || {
        let write = |stronghold: &mut Stronghold| {
            let name = Location::new_unchecked("client", "vault", "one more");
            Ok(stronghold
                .write(&name, &VALUE, Labels::new(), Timestamp::from_millis(1_700_000_000_000))
                .is_ok())
        };
        Ok(home.update(write)?)
    };
    let mut put = put;
    add(rows, "commit 10,000 of 64 B, key given", WHO, "ms", milliseconds(RUNS, || Ok(()), |()| put())?);
    add(rows, "load 10,000 of 64 B, key given", WHO, "ms", milliseconds(RUNS, || Ok(()), |()| open(&small))?);
    VaultFile::create(&large, &[NewSlot::Key(&KEY)], filled(Stronghold::new("bench")?, &locations(MANY))?)?;
    let (times, peaks) = children(RUNS, "open-stronghold", &large)?;
    add(rows, "open 100,000 of 64 B, key given", WHO, "ms", times);
    add(rows, "open 100,000 of 64 B, peak memory", WHO, "MB", peaks);
    let size =
        |path: &Path, records: usize| Ok::<_, std::io::Error>(path.metadata()?.len() as f64 / records as f64);
    add(rows, "file size for each record of 64 B, 10,000", WHO, "B", vec![size(&small, RECORDS)?]);
    add(rows, "file size for each record of 64 B, 100,000", WHO, "B", vec![size(&large, MANY)?]);
    Ok(())
}

/// Opens a file and reads one value.
pub(crate) fn open(path: &Path) -> Fallible<VaultFile> {
    let home = VaultFile::open(path, &Unlock::Key(&KEY))?;
    home.stronghold().read(&Location::new_unchecked("client", "vault", &name(0)))?;
    Ok(home)
}
