//! The relays that connections may go through: those of the command line, else of the
//! configuration.

use clap::Args;
use stronghold_net::Relays;
use stronghold_sync::escape_untrusted;

use crate::context::Context;
use crate::error::{Failure, path_text, shown};
use crate::globals::{Origin, Setting};
use crate::input;

/// Maximum length of a file of certificates, in bytes.
const MAX_LEN: usize = 1 << 20;

#[derive(Debug, Default, Clone, Args)]
pub(crate) struct RelayArgs {
    /// Meet the other device at the relay URL, where no other way leads to it; may be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) relay: Vec<String>,
}

impl RelayArgs {
    /// Returns the relays of the options, else those of the configuration file, if any.
    pub(super) fn chosen(&self, context: &Context) -> Result<Relays, Failure> {
        let config = &context.config;
        let urls = if self.relay.is_empty() { &config.relay } else { &self.relay };
        let wrong = |error: stronghold_net::RelaysError| {
            let message = escape_untrusted(&error.to_string());
            Failure::usage(message, "say it with --relay, or as `relay` in the configuration file")
        };
        let relays = Relays::new(urls).map_err(wrong)?;
        let Some(file) = config.relay_ca.as_deref().filter(|_| !relays.is_empty()) else {
            return Ok(relays);
        };
        let pem = input::within(file, MAX_LEN, "a file of certificates in PEM")?;
        relays.with_roots(&pem).map_err(|error| {
            Failure::usage(format!("{}: {error}", shown(file)), "it is `relay-ca` in the configuration file")
        })
    }
}

/// Returns the settings in force.
pub(super) fn settings(context: &Context) -> [Setting; 2] {
    let config = &context.config;
    let file = config.relay_ca.as_deref();
    let setting = |name, value: String| {
        let origin = if value.is_empty() { Origin::Default } else { Origin::File };
        Setting { name, value, origin }
    };
    [setting("relay", config.relay.join(", ")), setting("relay-ca", file.map(path_text).unwrap_or_default())]
}
