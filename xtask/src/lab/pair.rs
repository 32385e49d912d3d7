//! Provides two devices with equal entries and measures a sync between them, for `bench sync` and
//! `bench link`.

use std::{fmt::Write as _, fs, ops::Range, path::Path, time::Instant};

use serde_json::Value;

use super::{Device, Secret, Serving};
use crate::Result;

/// Two devices that allow each other everything: the laptop is the responder, the phone the
/// initiator.
pub(crate) struct DevicePair {
    pub(crate) laptop: Device,
    pub(crate) phone: Device,
    /// Address of the laptop, the same each time, so that the phone has no new one to store.
    pub(crate) address: String,
}

/// Measurements of one `sync`.
pub(crate) struct Run {
    pub(crate) milliseconds: f64,
    /// Bytes in both directions, with TLS.
    pub(crate) bytes: u64,
    pub(crate) round_trips: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Peak memory of the initiator and of the responder, in MB.
    pub(crate) peaks: [f64; 2],
}

impl DevicePair {
    /// Creates two devices with `entries` entries of 64 bytes each, and syncs them once.
    pub(crate) fn new(program: &Path, folder: &Path, secret: Secret, entries: usize) -> Result<Self> {
        let device = |name| Device::with(program, folder.join(format!("{name} {}", secret.file())), secret);
        let (laptop, phone) = (device("laptop")?, device("phone")?);
        laptop.run(&["init", "--name", "laptop"], "")?;
        change(&laptop, 0..entries, 0)?;
        let pairing = laptop.pair("phone")?;
        phone.json(&["clone", "--join", &pairing.address, "--name", "laptop"], &pairing.code)?;
        pairing.process.end()?;
        for (device, other) in [(&laptop, "phone"), (&phone, "laptop")] {
            device.run(&["grant", other, "pull", "push", "delete", "--select", "**"], "")?;
        }
        let address = laptop.serve()?.address;
        let two = Self { laptop, phone, address };
        two.sync()?;
        Ok(two)
    }

    /// Starts `serve` on the laptop, at the same address each time.
    pub(crate) fn serve(&self) -> Result<Serving> {
        self.laptop.serve_at(&self.address)
    }

    /// Syncs with a laptop that has just started to serve.
    pub(crate) fn sync(&self) -> Result<Run> {
        let serving = self.serve()?;
        self.sync_with(&serving, &serving.address)
    }

    /// Syncs with the laptop at the address `at`. Its peak memory covers its whole run.
    pub(crate) fn sync_with(&self, serving: &Serving, at: &str) -> Result<Run> {
        let start = Instant::now();
        let ended = self.phone.run(&["sync", "laptop", "--at", at, "--json"], "")?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let done: Value = serde_json::from_slice(&ended.stdout)?;
        let number = |field: &str| done[field].as_u64().ok_or_else(|| format!("no {field:?} in {done}"));
        let peak = |kibibytes: Option<u64>| {
            kibibytes.map(|peak| peak as f64 * 1.024e-3).ok_or("this system does not tell a process's memory")
        };
        Ok(Run {
            milliseconds,
            bytes: number("bytes_in")? + number("bytes_out")?,
            round_trips: number("round_trips")?,
            received: number("received")?,
            sent: number("sent")?,
            peaks: [peak(ended.peak)?, peak(serving.process.peak_memory())?],
        })
    }
}

/// Writes entries of a device with values that contain `round`.
pub(crate) fn change(device: &Device, numbers: Range<usize>, round: usize) -> Result<()> {
    let mut table = String::from("Group,Title,Password\n");
    for number in numbers {
        let _ = writeln!(table, "Root/Group {},Site {number:06},{round:02}{number:062}", number % 20);
    }
    let file = device.path("table.csv");
    fs::write(&file, table)?;
    let file = file.to_str().ok_or("the temporary folder's path is not UTF-8")?;
    device.json(&["import", "--format", "csv", file], "").map(drop)
}
