//! Two devices edit the same record separately, merge, and resolve the conflict without losing a
//! value.
//!
//! Run it with `cargo run -p stronghold-vault --example two_devices`.

use std::{collections::BTreeSet, error::Error, io::Write};

use stronghold_sync::{
    EntryId, Location, Mapping, OnConflict, PlanOptions, Scope, Selection, Shape, Timestamp, plan,
};
use stronghold_vault::{ImportReport, Labels, RejectReason, Stronghold};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let mail: Location = "wallet/web/mail".parse()?;
    let (mut laptop, mut phone) = (Stronghold::new("laptop")?, Stronghold::new("phone")?);
    laptop.write(&mail, b"first", Labels::new(), Timestamp::from_millis(1))?;
    merge(&mut phone, &laptop)?;

    laptop.write(&mail, b"from the laptop", Labels::new(), Timestamp::from_millis(2))?;
    phone.write(&mail, b"from the phone", Labels::new(), Timestamp::from_millis(3))?;
    let report = merge(&mut laptop, &phone)?;
    writeln!(out, "{} received, {} in conflict", report.received, report.conflicts)?;

    for (location, heads) in laptop.conflicts(&Selection::everything())? {
        for head in &heads {
            let value = laptop.read_revision(&location, &head.revision)?.value;
            writeln!(
                out,
                "{location} written at {}: {}",
                head.time.as_millis(),
                String::from_utf8_lossy(&value)
            )?;
        }
        laptop.resolve(&location, &heads[0].revision, Timestamp::from_millis(4))?;
    }
    merge(&mut phone, &laptop)?;
    assert_eq!(phone.read(&mail)?.revision.value, laptop.read(&mail)?.revision.value);
    assert!(!phone.read(&mail)?.conflict);
    writeln!(out, "both now hold: {}", String::from_utf8_lossy(&phone.read(&mail)?.revision.value))?;
    Ok(())
}

/// Takes the revisions that `into` lacks from another device.
fn merge(into: &mut Stronghold, from: &Stronghold) -> Result<ImportReport, Box<dyn Error>> {
    let scope = Scope::of(Selection::everything());
    let shapes = |of: &Stronghold| of.shapes(&scope, &Mapping::default());
    let rules = PlanOptions { take: true, give: false, on_conflict: OnConflict::KeepBoth };
    let plan = plan(&shapes(into), &shapes(from), rules);
    let wanted: BTreeSet<EntryId> = plan.take.iter().map(Shape::entry).collect();
    let entries = from.export_mapped(&Selection::everything(), &Mapping::default(), &wanted)?;
    let asked = |_: &Location, entry: &EntryId, _: &_| {
        if wanted.contains(entry) { Ok(()) } else { Err(RejectReason::Unrequested) }
    };
    Ok(into.import(&entries, from.identity().device(), Timestamp::default(), asked)?)
}
