//! The log of what devices asked for here, and of what this one took and gave.

use serde_json::{Value, json};
use stronghold_sync::{DeviceId, hex, visible};
use stronghold_vault::{Deed, Logged, Sum};

use super::{Context, time};
use crate::{error::Failure, output::counted};

pub(super) fn log(context: &Context) -> Result<(), Failure> {
    let home = context.open()?;
    let stronghold = home.stronghold();
    let name = |device: &DeviceId| stronghold.peers().name_of(device);
    let entries: Vec<Value> = stronghold.log().entries().map(|logged| log_object(logged, &name)).collect();
    let folded: Vec<Value> = stronghold.log().folded().iter().map(|sum| sum_object(sum, &name)).collect();
    context.output.result(&json!({ "entries": entries, "folded": folded }), || {
        let folded = stronghold.log().folded().iter().map(|sum| sum_line(sum, &name));
        folded.chain(stronghold.log().entries().map(|logged| log_line(logged, &name))).collect()
    })
}

fn log_object(logged: &Logged, name: &impl Fn(&DeviceId) -> String) -> Value {
    json!({
        "time": logged.last,
        "first": logged.first,
        "device": logged.device.to_string(),
        "name": name(&logged.device),
        "operation": logged.deed.name(),
        "selection": logged.selection,
        "selection_sha256": logged.whole.map(|whole| hex::text(whole.as_bytes())),
        "allowed": logged.allowed,
        "entries": logged.entries,
        "bytes": logged.bytes,
        "count": logged.count,
        "repeated": logged.count - 1,
    })
}

fn sum_object(sum: &Sum, name: &impl Fn(&DeviceId) -> String) -> Value {
    json!({
        "first": sum.first, "time": sum.last, "device": sum.device.to_string(), "name": name(&sum.device),
        "operation": sum.deed.name(), "allowed": sum.allowed,
        "entries": sum.entries, "bytes": sum.bytes, "count": sum.count,
    })
}

fn log_line(logged: &Logged, name: &impl Fn(&DeviceId) -> String) -> String {
    let (when, who, what) = (time(logged.last), visible(&name(&logged.device)), logged.deed.name());
    if matches!(logged.deed, Deed::Revoked | Deed::Renewed) {
        return format!("{when}  {who}  {what}");
    }
    let more = match logged.count {
        1 => String::new(),
        count => format!(" ({count} times since {})", time(logged.first)),
    };
    let cut = if logged.whole.is_some() { "..." } else { "" };
    let (selection, entries, bytes) =
        (visible(&logged.selection), counted(logged.entries, "entry"), counted(logged.bytes, "byte"));
    let verdict = verdict(logged.allowed);
    format!("{when}  {who}  {verdict}  {what} on {selection}{cut}  {entries}, {bytes}{more}")
}

fn sum_line(sum: &Sum, name: &impl Fn(&DeviceId) -> String) -> String {
    let (from, until, who) = (time(sum.first), time(sum.last), visible(&name(&sum.device)));
    let (verdict, what, count) = (verdict(sum.allowed), sum.deed.name(), sum.count);
    let (entries, bytes) = (counted(sum.entries, "entry"), counted(sum.bytes, "byte"));
    format!("{from} to {until}  {who}  {verdict}  {what}, {count} times  {entries}, {bytes}")
}

fn verdict(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "refused" }
}
