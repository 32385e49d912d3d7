//! `config`: shows the settings in force.

use serde_json::{Value, json};
use stronghold_sync::escape_untrusted;

use crate::address::DEFAULT_LISTEN;
use crate::config::{UnlockConfig, path};
use crate::context::Context;
use crate::error::{Failure, path_text, shown};
use crate::globals::{Origin, Setting};

pub(super) fn config(context: &Context, mut settings: Vec<Setting>) -> Result<(), Failure> {
    let unlock = &context.config.unlock;
    let of_file = |name, value: &Option<String>, default: &str| {
        let origin = if value.is_some() { Origin::File } else { Origin::Default };
        Setting { name, value: value.clone().unwrap_or_else(|| default.into()), origin }
    };
    settings.push(of_file("listen", &context.config.listen, DEFAULT_LISTEN));
    #[cfg(feature = "iroh")]
    settings.extend(super::relays::settings(context));
    settings.push(of_file("unlock.for", &unlock.total, UnlockConfig::TOTAL));
    settings.push(of_file("unlock.idle", &unlock.idle, UnlockConfig::IDLE));
    if let Some(snapshot) = settings.iter_mut().find(|setting| setting.name == "snapshot") {
        snapshot.value = path_text(&context.path()?);
    }
    let file = path();
    let objects: Vec<Value> = settings
        .iter()
        .map(|Setting { name, value, origin }| json!({ "name": name, "value": value, "origin": word(*origin) }))
        .collect();
    let object = json!({ "file": file.as_deref().map(path_text), "settings": objects });
    context.output.result(&object, || {
        let line = |setting: &Setting| {
            let value = escape_untrusted(&setting.value);
            let value = if value.is_empty() { "-" } else { &value };
            format!("{:22}  {value}  ({})", setting.name, word(setting.origin))
        };
        let file = file.as_deref().map_or_else(|| "none".into(), shown);
        std::iter::once(format!("file: {file}")).chain(settings.iter().map(line)).collect()
    })
}

fn word(origin: Origin) -> &'static str {
    match origin {
        Origin::Option => "option",
        Origin::Environment => "environment",
        Origin::File => "file",
        Origin::Default => "default",
    }
}
