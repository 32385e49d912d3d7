//! The configuration file: defaults for options, in TOML.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::address::to_listen;
use crate::clock::length;
use crate::environment::{from_environment, project_folders};
use crate::error::{Failure, shown};

/// Maximum length of the file, in bytes.
const MAX_LEN: u64 = 64 << 10;

/// The settings of a configuration file, called as the options are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    pub(crate) snapshot: Option<PathBuf>,
    pub(crate) passphrase_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) lock_timeout: Option<u32>,
    pub(crate) require_rollback_notes: Option<bool>,
    pub(crate) no_agent: Option<bool>,
    pub(crate) quiet: Option<bool>,
    /// Address of `serve`.
    pub(crate) listen: Option<String>,
    /// Addresses of relays.
    #[cfg(feature = "iroh")]
    #[serde(default)]
    pub(crate) relay: Vec<String>,
    /// File with the certificates of relays' own authorities.
    #[cfg(feature = "iroh")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Times of `unlock`.
    #[serde(default)]
    pub(crate) unlock: UnlockConfig,
}

/// The table `[unlock]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct UnlockConfig {
    #[serde(rename = "for")]
    pub(crate) total: Option<String>,
    pub(crate) idle: Option<String>,
}

impl UnlockConfig {
    /// Time without use after which a key is wiped, unless said otherwise.
    pub(crate) const IDLE: &str = "15m";
    /// Time after which a key is wiped in any case, unless said otherwise.
    pub(crate) const TOTAL: &str = "8h";

    /// Returns the times without use and in all. They were checked when they were read.
    pub(crate) fn times(&self) -> [Option<Duration>; 2] {
        [(&self.idle, Self::IDLE), (&self.total, Self::TOTAL)]
            .map(|(time, default)| length(time.as_deref().unwrap_or(default)).ok())
    }
}

impl Config {
    /// Reads the file that the environment names, else the one in the platform's folder, if there
    /// is one.
    ///
    /// # Errors
    /// [`Failure`] if it can't be read, or has settings that do not exist or make no sense.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let is_named = from_environment("STRONGHOLD_CONFIG").is_some();
        let text = match read(&path) {
            Err(error) if !is_named && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            read => read.map_err(|error| Failure::file(&path, &error))?,
        };
        Self::parse(&text, path.parent().unwrap_or(Path::new("."))).map_err(|reason| {
            let message = format!("{}: {reason}", shown(&path));
            Failure::usage(message, "`stronghold config` lists the settings")
        })
    }

    /// Parses the text of a file in `folder`, from which its paths go out.
    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config: Self =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let paths = [&mut config.snapshot, &mut config.passphrase_file, &mut config.key_file];
        for path in paths.into_iter().flatten() {
            *path = folder.join(at_home(path));
        }
        if config.passphrase_file.is_some() && config.key_file.is_some() {
            return Err("passphrase-file and key-file exclude each other".into());
        }
        let of_setting = |name: &'static str| move |reason| format!("{name}: {reason}");
        #[cfg(feature = "iroh")]
        {
            stronghold_net::Relays::new(&config.relay)
                .map_err(|error| of_setting("relay")(error.to_string()))?;
            config.relay_ca = config.relay_ca.map(|path| folder.join(at_home(&path)));
        }
        if let Some(listen) = &mut config.listen {
            *listen = to_listen(listen).map_err(of_setting("listen"))?;
        }
        for (name, time) in [("unlock.for", &config.unlock.total), ("unlock.idle", &config.unlock.idle)] {
            time.as_deref().map(length).transpose().map_err(of_setting(name))?;
        }
        Ok(config)
    }
}

/// Returns the path of the configuration file: the one that the environment names, else the one in
/// the platform's folder.
pub(crate) fn path() -> Option<PathBuf> {
    let default = || Some(project_folders()?.config_dir().join("config.toml"));
    from_environment("STRONGHOLD_CONFIG").or_else(default)
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read;
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(text)
}

/// Returns a path with a leading `~/` replaced by the home folder.
fn at_home(path: &Path) -> PathBuf {
    let home = directories::BaseDirs::new().map(|folders| folders.home_dir().to_owned());
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/app"))
    }

    #[test]
    fn settings_are_called_as_the_options_are() {
        let config = parse(
            "snapshot = 'vault'\nkey-file = '/key'\nlock-timeout = 3\nrequire-rollback-notes = true\nno-agent = true\n\
             quiet = true\nlisten = '4748'\n[unlock]\nfor = '2h'\nidle = '10m'\n",
        )
        .unwrap();
        assert_eq!(config.snapshot.as_deref(), Some(Path::new("/etc/app/vault")));
        assert_eq!(config.key_file.as_deref(), Some(Path::new("/key")));
        assert_eq!((config.lock_timeout, config.quiet), (Some(3), Some(true)));
        assert_eq!((config.require_rollback_notes, config.no_agent), (Some(true), Some(true)));
        assert_eq!(config.listen.as_deref(), Some("0.0.0.0:4748"));
        assert_eq!(
            (config.unlock.total.as_deref(), config.unlock.idle.as_deref()),
            (Some("2h"), Some("10m"))
        );
        let home = directories::BaseDirs::new().unwrap().home_dir().to_owned();
        assert_eq!(parse("passphrase-file = '~/p'").unwrap().passphrase_file, Some(home.join("p")));
        assert!(parse("").unwrap().snapshot.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_told_by_name() {
        for (text, named) in [
            ("snapshots = 'x'", "snapshots"),
            ("lock-timeout = 'long'", "lock-timeout"),
            ("lock-timeout = -1", "lock-timeout"),
            ("listen = 'laptop:port'", "listen"),
            ("[unlock]\nidle = 'soon'", "unlock.idle"),
            ("[unlock]\nfor = '5'", "unlock.for"),
            ("[unlock]\nuntil = '5h'", "until"),
            ("key-file = 'a'\npassphrase-file = 'b'", "exclude each other"),
            ("snapshot", "snapshot"),
        ] {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(named), "{text}: {reason}");
        }
    }
}
