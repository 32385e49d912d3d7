//! `history`: prints a record's revisions.

use serde_json::json;
use stronghold_snapshot::Access;
use stronghold_sync::{DeviceId, RevisionId, escape_untrusted};
use stronghold_vault::{RevisionInfo, Stronghold};

use crate::clock::time;
use crate::context::{Context, location};
use crate::error::Failure;
use crate::nearest::found;

/// Number of digits shown of a revision's id.
const SHORT_ID: usize = 8;

pub(super) fn history(context: &Context, at: &str) -> Result<(), Failure> {
    let location = location(at)?;
    let home = context.open_at(std::slice::from_ref(&location), Access::Read)?;
    let history = found(home.stronghold(), &location, home.stronghold().history(&location))?;
    let names = |device: &DeviceId| device_name(home.stronghold(), device);
    let versions: Vec<_> = history.iter().map(|one| version(one, &names)).collect();
    let object = json!({ "location": location.to_string(), "revisions": versions });
    context.output.result(&object, || history.iter().map(|one| version_line(one, &names)).collect())
}

/// Returns a device's name: this device's own, else the name given to it here, else its
/// fingerprint.
pub(super) fn device_name(stronghold: &Stronghold, device: &DeviceId) -> String {
    if *device == stronghold.identity().device() {
        return stronghold.name().to_owned();
    }
    stronghold.peers().name_of(device)
}

/// Returns the name of the device that wrote a revision. A revision that another snapshot with this
/// device's identity delivered was not written here.
pub(super) fn writer(stronghold: &Stronghold, info: &RevisionInfo) -> String {
    let name = |device| escape_untrusted(&device_name(stronghold, device));
    match (&info.author, &info.via) {
        (Some(author), None) if *author == stronghold.identity().device() => "here".into(),
        (Some(author), Some(via)) if *author == stronghold.identity().device() => {
            format!("here, from {}", name(via))
        }
        (Some(author), _) => name(author),
        (None, _) => "?".into(),
    }
}

/// Returns the beginning of a revision's id, long enough to tell it from the record's others.
pub(super) fn short_id(revision: &RevisionId) -> String {
    revision.to_string().chars().take(SHORT_ID).collect()
}

pub(super) fn version(version: &RevisionInfo, names: &dyn Fn(&DeviceId) -> String) -> serde_json::Value {
    json!({
        "revision": version.revision.to_string(),
        "modified": version.time,
        "size": version.size,
        "deleted": version.deleted,
        "head": version.head,
        "author": version.author.as_ref().map(names),
        "via": version.via.as_ref().map(names),
    })
}

fn version_line(version: &RevisionInfo, names: &dyn Fn(&DeviceId) -> String) -> String {
    let what = match (version.head, version.deleted) {
        (true, true) => "  head, deleted",
        (true, false) => "  head",
        (false, true) => "  deleted",
        (false, false) => "",
    };
    let by = version
        .author
        .as_ref()
        .map_or_else(String::new, |author| format!("  by {}", escape_untrusted(&names(author))));
    format!("{}  {}  {:>8}{by}{what}", short_id(&version.revision), time(version.time), version.size)
}
