//! Shows the log of what peers asked for here, and of what this device took and gave.

use serde_json::{Value, json};
use stronghold_sync::{DeviceId, escape_untrusted, hex};
use stronghold_vault::{AuditAction, AuditEntry, AuditTotal};

use crate::clock::time;
use crate::context::Context;
use crate::{error::Failure, output::counted};

pub(super) fn log(context: &Context) -> Result<(), Failure> {
    let home = context.open()?;
    let stronghold = home.stronghold();
    let name = |device: &DeviceId| stronghold.peers().name_of(device);
    let entries: Vec<Value> = stronghold.log().entries().map(|logged| log_object(logged, &name)).collect();
    let folded: Vec<Value> = stronghold.log().totals().iter().map(|sum| sum_object(sum, &name)).collect();
    context.output.result(&json!({ "entries": entries, "folded": folded }), || {
        let folded = stronghold.log().totals().iter().map(|sum| sum_line(sum, &name));
        folded.chain(stronghold.log().entries().map(|logged| log_line(logged, &name))).collect()
    })?;
    if entries.is_empty() && folded.is_empty() {
        context.output.nothing("no requests yet");
    }
    Ok(())
}

fn log_object(logged: &AuditEntry, name: &impl Fn(&DeviceId) -> String) -> Value {
    json!({
        "time": logged.last,
        "first": logged.first,
        "device": logged.device.to_string(),
        "name": name(&logged.device),
        "operation": logged.action.name(),
        "selection": logged.selection,
        "selection_sha256": logged.whole.map(|whole| hex::text(whole.as_bytes())),
        "allowed": logged.allowed,
        "entries": logged.entries,
        "bytes": logged.bytes,
        "count": logged.count,
        "repeated": logged.count - 1,
    })
}

fn sum_object(sum: &AuditTotal, name: &impl Fn(&DeviceId) -> String) -> Value {
    json!({
        "first": sum.first, "time": sum.last, "device": sum.device.to_string(), "name": name(&sum.device),
        "operation": sum.action.name(), "allowed": sum.allowed,
        "entries": sum.entries, "bytes": sum.bytes, "count": sum.count,
    })
}

fn log_line(logged: &AuditEntry, name: &impl Fn(&DeviceId) -> String) -> String {
    let (when, who, what) =
        (time(logged.last), escape_untrusted(&name(&logged.device)), logged.action.name());
    if matches!(logged.action, AuditAction::Revoked | AuditAction::Renewed) {
        return format!("{when}  {who}  {what}");
    }
    let more = match logged.count {
        1 => String::new(),
        count => format!(" ({count} times since {})", time(logged.first)),
    };
    let cut = if logged.whole.is_some() { "..." } else { "" };
    let (selection, entries, bytes) = (
        escape_untrusted(&logged.selection),
        counted(logged.entries, "entry"),
        counted(logged.bytes, "byte"),
    );
    let verdict = verdict(logged.allowed);
    format!("{when}  {who}  {verdict}  {what} on {selection}{cut}  {entries}, {bytes}{more}")
}

fn sum_line(sum: &AuditTotal, name: &impl Fn(&DeviceId) -> String) -> String {
    let (from, until, who) = (time(sum.first), time(sum.last), escape_untrusted(&name(&sum.device)));
    let (verdict, what, count) = (verdict(sum.allowed), sum.action.name(), sum.count);
    let (entries, bytes) = (counted(sum.entries, "entry"), counted(sum.bytes, "byte"));
    format!("{from} to {until}  {who}  {verdict}  {what}, {count} times  {entries}, {bytes}")
}

fn verdict(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "refused" }
}

#[cfg(test)]
mod tests {
    use stronghold_vault::{AuditLog, AuditRecord};

    use super::*;
    use stronghold_sync::Timestamp;

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 32]);

    fn decided(selection: &str, deed: AuditAction, allowed: bool) -> AuditRecord {
        AuditRecord {
            time: Timestamp::default(),
            device: DEVICE,
            action: deed,
            selection: selection.into(),
            allowed,
            entries: 1,
            bytes: 2,
        }
    }

    #[test]
    fn a_line_says_who_did_what_on_what_and_how_often() {
        let mut log = AuditLog::default();
        let long = format!("a/v/{}", "x".repeat(300));
        for (selection, deed, allowed) in [
            ("a/**", AuditAction::Pull, true),
            ("a/**", AuditAction::Pull, true),
            (&long, AuditAction::Push, false),
            ("**", AuditAction::Revoked, true),
        ] {
            log.append(decided(selection, deed, allowed));
        }
        let name = |device: &DeviceId| if *device == DEVICE { "phone".to_owned() } else { "?".into() };
        let lines: Vec<_> = log.entries().map(|logged| log_line(logged, &name)).collect();
        let when = time(Timestamp::default());
        let bytes = |count: u64| counted(count, "byte");
        assert_eq!(
            lines,
            [
                format!(
                    "{when}  phone  allowed  pull on a/**  2 entries, {} (2 times since {when})",
                    bytes(4)
                ),
                format!("{when}  phone  refused  push on {}...  1 entry, {}", &long[..256], bytes(2)),
                format!("{when}  phone  revoked"),
            ]
        );
        let objects: Vec<_> = log.entries().map(|logged| log_object(logged, &name)).collect();
        assert_eq!((&objects[0]["count"], &objects[0]["repeated"]), (&json!(2), &json!(1)));
        assert_eq!(
            (&objects[0]["selection_sha256"], objects[1]["selection_sha256"].as_str().map(str::len)),
            (&Value::Null, Some(64))
        );
        let sum = AuditTotal {
            device: DEVICE,
            action: AuditAction::Browse,
            allowed: false,
            first: Timestamp::default(),
            last: Timestamp::default(),
            count: 7,
            entries: 3,
            bytes: 1,
        };
        let expected = format!("{when} to {when}  phone  refused  browse, 7 times  3 entries, 1 byte");
        assert_eq!(sum_line(&sum, &name), expected);
        assert_eq!(sum_object(&sum, &name)["count"], 7);
    }
}
