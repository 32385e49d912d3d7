//! Shows this device's identity, and gives a copied snapshot a new one.

use serde_json::{Value, json};
use stronghold_snapshot::now;
use stronghold_sync::DeviceId;
use stronghold_vault::Peer;

use crate::context::{Context, described};
use crate::error::Failure;

pub(super) fn identity(context: &Context, is_renewed: bool) -> Result<(), Failure> {
    if is_renewed {
        return renew(context);
    }
    let home = context.open()?;
    let stronghold = home.stronghold();
    let device = stronghold.identity().device();
    let object = json!({ "device": device.to_string(), "name": stronghold.name() });
    context.output.result(&object, || vec![described(stronghold.name(), &device), format!("  {device}")])
}

fn renew(context: &Context) -> Result<(), Failure> {
    let mut home = context.open()?;
    let stronghold = home.stronghold();
    let mut lines = vec![
        format!("{} gets a new identity.", described(stronghold.name(), &stronghold.identity().device())),
        "Its records and their histories stay; the old identity is gone from this snapshot for good, and no `undo` \
         brings it back."
            .into(),
    ];
    let paired: Vec<String> = stronghold.peers().iter().map(|(device, peer)| line(device, peer)).collect();
    if !paired.is_empty() {
        lines.push(
            "Trust and rules of these are taken away; pair it anew with each that is to sync with it:".into(),
        );
        lines.extend(paired);
    }
    lines.push("Go on?".into());
    context.confirm(&lines.join("\n"))?;
    let was = stronghold.identity().device();
    let paired = home.update(|stronghold| Ok(stronghold.renew_identity(now())?))?;
    let stronghold = home.stronghold();
    let device = stronghold.identity().device();
    let anew: Vec<Value> = paired
        .iter()
        .map(|(device, peer)| json!({ "device": device.to_string(), "name": peer.name }))
        .collect();
    let object = json!({
        "device": device.to_string(),
        "was": was.to_string(),
        "name": stronghold.name(),
        "pair_anew": anew,
    });
    context.output.result(&object, || {
        let mut lines = vec![
            format!("this device is now {}", described(stronghold.name(), &device)),
            format!("  {device}"),
        ];
        if !paired.is_empty() {
            lines.push("pair it anew with:".into());
            lines.extend(paired.iter().map(|(device, peer)| line(device, peer)));
        }
        lines
    })?;
    context.output.note("hint: the other snapshot keeps the old identity and its pairings");
    Ok(())
}

fn line(device: &DeviceId, peer: &Peer) -> String {
    format!("  {}", described(&peer.name, device))
}
