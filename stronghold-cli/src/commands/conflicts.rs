//! `conflicts`: prints the records with more than one value.

use serde_json::json;
use stronghold_sync::{DeviceId, escape_untrusted};

use super::history::device_name;
use super::history::version;
use super::history::version_line;
use crate::context::{Context, selection};
use crate::error::Failure;

pub(super) fn conflicts(context: &Context, of: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    let found = home.stronghold().conflicts(&selection)?;
    let names = |device: &DeviceId| device_name(home.stronghold(), device);
    let conflicts: Vec<_> = found
        .iter()
        .map(|(location, heads)| {
            let heads: Vec<_> = heads.iter().map(|one| version(one, &names)).collect();
            json!({ "location": location.to_string(), "heads": heads })
        })
        .collect();
    context.output.result(&json!({ "conflicts": conflicts }), || {
        let lines = found.iter().flat_map(|(location, heads)| {
            let title = escape_untrusted(&location.to_string());
            std::iter::once(title).chain(heads.iter().map(|one| version_line(one, "  ", &names)))
        });
        lines.collect()
    })
}
