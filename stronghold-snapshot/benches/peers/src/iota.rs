//! IOTA Stronghold 2.1: the same tasks in its own API. Its commits and loads run scrypt even with a
//! raw key; its users wait for that, so it counts.

use std::path::Path;

use iota_stronghold::{
    Client, KeyProvider, Location, SnapshotPath, Stronghold,
    sync::{MergePolicy, SyncClientsConfig},
};
use zeroize::Zeroizing;

use crate::{
    MANY, RECORDS, VALUE,
    measure::{Fallible, Row, add, children, milliseconds},
    name,
};

const WHO: &str = "iota stronghold 2.1";
const RUNS: usize = 3;
const CLIENT: &str = "client";
const VAULT: &str = "vault";

pub(crate) fn measure(rows: &mut Vec<Row>) -> Fallible<()> {
    let runs =
        milliseconds(RUNS, || Ok(Stronghold::default().create_client(CLIENT)?), |new| filled(new, RECORDS))?;
    let each = runs.iter().map(|run| run * 1e3 / RECORDS as f64).collect();
    add(rows, "write 10,000 of 64 B into memory, each", WHO, "us", each);
    sync(rows)?;
    files(rows)
}

fn filled(client: Client, records: usize) -> Fallible<Client> {
    for n in 0..records {
        write(&client, n, VALUE)?;
    }
    Ok(client)
}

fn write(client: &Client, n: usize, value: [u8; 64]) -> Fallible<()> {
    let secret = Zeroizing::new(value.to_vec());
    Ok(client.vault(VAULT).write_secret(Location::generic(VAULT, name(n)), secret)?)
}

fn sync(rows: &mut Vec<Row>) -> Fallible<()> {
    let stronghold = Stronghold::default();
    let held = filled(stronghold.create_client(CLIENT)?, RECORDS)?;
    let other = stronghold.create_client("other")?;
    let merge = || Ok(other.sync_with(&held, SyncClientsConfig::new(MergePolicy::Replace))?);
    merge()?;
    let runs = milliseconds(RUNS, || Ok(()), |()| merge())?;
    add(rows, "local sync in memory, 10,000, unchanged", WHO, "ms", runs);
    let mut turn = 8;
    let change = || {
        turn += 1;
        (0..RECORDS).step_by(100).try_for_each(|n| write(&held, n, [turn; 64]))
    };
    add(
        rows,
        "local sync in memory, 10,000, 1 % differ",
        WHO,
        "ms",
        milliseconds(RUNS, change, |()| merge())?,
    );
    Ok(())
}

fn files(rows: &mut Vec<Row>) -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let [small, large] = ["small", "large"].map(|name| folder.path().join(name));
    let stronghold = Stronghold::default();
    filled(stronghold.create_client(CLIENT)?, RECORDS)?;
    let commit = || Ok(stronghold.commit_with_keyprovider(&SnapshotPath::from_path(&small), &key()?)?);
    add(rows, "commit 10,000 of 64 B, key given", WHO, "ms", milliseconds(RUNS, || Ok(()), |()| commit())?);
    add(rows, "load 10,000 of 64 B, key given", WHO, "ms", milliseconds(RUNS, || Ok(()), |()| open(&small))?);
    let size = small.metadata()?.len() as f64 / RECORDS as f64;
    add(rows, "file size for each record of 64 B, 10,000", WHO, "B", vec![size]);
    let stronghold = Stronghold::default();
    filled(stronghold.create_client(CLIENT)?, MANY)?;
    stronghold.commit_with_keyprovider(&SnapshotPath::from_path(&large), &key()?)?;
    let (times, peaks) = children(RUNS, "open-iota", &large)?;
    add(rows, "open 100,000 of 64 B, key given", WHO, "ms", times);
    add(rows, "open 100,000 of 64 B, peak memory", WHO, "MB", peaks);
    let size = large.metadata()?.len() as f64 / MANY as f64;
    add(rows, "file size for each record of 64 B, 100,000", WHO, "B", vec![size]);
    Ok(())
}

fn key() -> Fallible<KeyProvider> {
    Ok(KeyProvider::try_from(Zeroizing::new(vec![3; 32])).map_err(|error| format!("{error:?}"))?)
}

/// Opens a file and looks for one record: only its own procedures can read values.
pub(crate) fn open(path: &Path) -> Fallible<Stronghold> {
    let stronghold = Stronghold::default();
    let client = stronghold.load_client_from_snapshot(CLIENT, &key()?, &SnapshotPath::from_path(path))?;
    if !client.record_exists(&Location::generic(VAULT, name(0)))? {
        return Err("the first record is missing".into());
    }
    Ok(stronghold)
}
