//! One changed value of 64 bytes among many, made durable by a process that runs on: Stronghold with
//! its notes against rollback, and two databases with sealed values.

use std::{path::Path, time::Instant};

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
use redb::{Database, ReadableDatabase, TableDefinition};
use rusqlite::Connection;
use stronghold_snapshot::{Limits, NewSlot, OnRollback, RollbackGuard, RollbackNotes, Unlock, VaultFile};
use stronghold_sync::{Location, Timestamp};
use stronghold_vault::{Labels, Stronghold, fill_random};

use crate::{
    VALUE,
    measure::{Fallible, Row, add, cpu_time, written},
    name,
};

/// Number of changes: several times as many as there are between two foldings.
const CHANGES: usize = 4_000;
const KEY: [u8; 32] = [3; 32];
const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

/// A store of named values in a file.
trait Store: Sized {
    const NAME: &'static str;

    fn filled(folder: &Path, records: usize) -> Fallible<Self>;
    fn put(&mut self, name: &str, value: &[u8]) -> Fallible<()>;
    fn get(&self, name: &str) -> Fallible<Vec<u8>>;
}

pub(crate) fn measure(rows: &mut Vec<Row>) -> Fallible<()> {
    [("1,000", 1_000), ("100,000", 100_000)].iter().try_for_each(|(text, records)| all(rows, text, *records))
}

pub(crate) fn measure_million(rows: &mut Vec<Row>) -> Fallible<()> {
    all(rows, "1,000,000", 1_000_000)
}

fn all(rows: &mut Vec<Row>, text: &str, records: usize) -> Fallible<()> {
    one::<Vault>(rows, text, records)?;
    one::<Sqlite>(rows, text, records)?;
    one::<Redb>(rows, text, records)
}

fn one<S: Store>(rows: &mut Vec<Row>, text: &str, records: usize) -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let mut store = S::filled(folder.path(), records)?;
    let [mut wall, mut cpu, mut bytes] = [const { Vec::new() }; 3];
    let all = (cpu_time(), written()?);
    for change in 0..CHANGES {
        // Spread over all records.
        let name = name(change * 7_919 % records);
        let value: [u8; 64] = std::array::from_fn(|at| (change + at) as u8);
        let (start, used, before) = (Instant::now(), cpu_time(), written()?);
        store.put(&name, &value)?;
        let (elapsed, used) = (start.elapsed(), cpu_time() - used);
        wall.push(elapsed.as_secs_f64() * 1e3);
        cpu.push(used.as_secs_f64() * 1e3);
        bytes.push((written()? - before) as f64);
        if store.get(&name)? != value {
            return Err(format!("{} gives another value back", S::NAME).into());
        }
    }
    let each = [(cpu_time() - all.0).as_secs_f64() * 1e3, (written()? - all.1) as f64]
        .map(|sum| sum / CHANGES as f64);
    let work = |what: &str| format!("change one of {text}, {what}");
    add_medians(rows, work("time"), S::NAME, "ms", wall);
    add_medians(rows, work("CPU"), S::NAME, "ms", cpu);
    add_medians(rows, work("bytes"), S::NAME, "B", bytes);
    add(rows, work("CPU with foldings"), S::NAME, "ms", vec![each[0]]);
    add(rows, work("bytes with foldings"), S::NAME, "B", vec![each[1]]);
    Ok(())
}

/// Adds a row of the medians of nine parts of the runs.
fn add_medians(rows: &mut Vec<Row>, work: String, who: &'static str, unit: &'static str, runs: Vec<f64>) {
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    add(rows, work, who, unit, runs.chunks(runs.len().div_ceil(9)).map(median).collect());
}

struct Vault(VaultFile);

impl Store for Vault {
    const NAME: &'static str = "stronghold";

    fn filled(folder: &Path, records: usize) -> Fallible<Self> {
        let path = folder.join("vault");
        let mut held = Stronghold::new("bench")?;
        for n in 0..records {
            held.write(
                &location(&name(n)),
                &VALUE,
                Labels::new(),
                Timestamp::from_millis(1_700_000_000_000),
            )?;
        }
        drop(VaultFile::create(&path, &[NewSlot::Key(&KEY)], held)?);
        let notes = RollbackNotes {
            guard: Some(RollbackGuard::in_folder(folder.join("notes"))),
            required: false,
            on_failure: |error| eprintln!("{error}"),
        };
        let file =
            VaultFile::open_guarded(&path, &Unlock::Key(&KEY), &Limits::OWN, notes, OnRollback::Refuse)?;
        Ok(Self(file))
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Fallible<()> {
        self.0.write(&location(name), value)?;
        Ok(())
    }

    fn get(&self, name: &str) -> Fallible<Vec<u8>> {
        Ok(self.0.stronghold().read(&location(name))?.revision.value.to_vec())
    }
}

fn location(name: &str) -> Location {
    Location::new_unchecked("client", "vault", name)
}

fn sealed(value: &[u8]) -> Fallible<Vec<u8>> {
    let mut nonce = [0; 12];
    fill_random(&mut nonce)?;
    let text = Aes256Gcm::new(&KEY.into()).encrypt(&nonce.into(), value).map_err(|_| "not sealed")?;
    Ok([&nonce[..], &text].concat())
}

fn opened(sealed: &[u8]) -> Fallible<Vec<u8>> {
    let (nonce, text) = sealed.split_first_chunk::<12>().ok_or("cut short")?;
    Ok(Aes256Gcm::new(&KEY.into()).decrypt(nonce.into(), text).map_err(|_| "not opened")?)
}

/// SQLite with a write-ahead log, synced with each change.
struct Sqlite(Connection);

impl Store for Sqlite {
    const NAME: &'static str = "sqlite";

    fn filled(folder: &Path, records: usize) -> Fallible<Self> {
        let mut file = Connection::open(folder.join("sqlite"))?;
        file.pragma_update(None, "journal_mode", "wal")?;
        file.pragma_update(None, "synchronous", "full")?;
        file.execute("create table records (name text primary key, value blob) without rowid", ())?;
        let all = file.transaction()?;
        for n in 0..records {
            all.execute("insert into records values (?, ?)", (name(n), sealed(&VALUE)?))?;
        }
        all.commit()?;
        Ok(Self(file))
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Fallible<()> {
        let mut put = self.0.prepare_cached("update records set value = ?2 where name = ?1")?;
        put.execute((name, sealed(value)?))?;
        Ok(())
    }

    fn get(&self, name: &str) -> Fallible<Vec<u8>> {
        let mut get = self.0.prepare_cached("select value from records where name = ?1")?;
        opened(&get.query_row([name], |row| row.get::<_, Vec<u8>>(0))?)
    }
}

struct Redb(Database);

impl Store for Redb {
    const NAME: &'static str = "redb";

    fn filled(folder: &Path, records: usize) -> Fallible<Self> {
        let file = Database::create(folder.join("redb"))?;
        let all = file.begin_write()?;
        {
            let mut table = all.open_table(TABLE)?;
            for n in 0..records {
                table.insert(name(n).as_str(), sealed(&VALUE)?.as_slice())?;
            }
        }
        all.commit()?;
        Ok(Self(file))
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Fallible<()> {
        let change = self.0.begin_write()?;
        change.open_table(TABLE)?.insert(name, sealed(value)?.as_slice())?;
        change.commit()?;
        Ok(())
    }

    fn get(&self, name: &str) -> Fallible<Vec<u8>> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        let held = table.get(name)?.ok_or("missing")?;
        opened(held.value())
    }
}
