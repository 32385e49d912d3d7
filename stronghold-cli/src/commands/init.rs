//! `init`: creates a snapshot.

use serde_json::json;
use stronghold_vault::Stronghold;

use super::peers::check_own_name;
use crate::context::{Context, host_name, is_taken};
use crate::{
    error::{Failure, path_text, shown},
    secrets,
};

pub(super) fn init(context: &Context, name: Option<String>) -> Result<(), Failure> {
    if let Some(name) = &name {
        check_own_name(context, name)?;
    }
    let path = context.path()?;
    if is_taken(&path)? {
        return Err(Failure::exists(&path));
    }
    let secret = secrets::of_new_snapshot(&context.global, context.output, &path)?;
    context.make_default_folder(&path)?;
    let home = context.create(&path, &secret, new_stronghold(&name.unwrap_or_else(host_name))?)?;
    let device = home.stronghold().identity().device();
    let object = json!({
        "snapshot": path_text(home.file().path()), "device": device.to_string(), "name": home.stronghold().name(),
    });
    context.output.result(&object, || vec![format!("created {}", shown(home.file().path()))])
}

/// Creates an empty Stronghold.
pub(super) fn new_stronghold(name: &str) -> Result<Stronghold, Failure> {
    Ok(Stronghold::new(name).map_err(stronghold_vault::WriteError::from)?)
}
