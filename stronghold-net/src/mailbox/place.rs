//! Addresses of places on servers, and the logins for them.

use std::fmt;

use percent_encoding::percent_decode_str;
use stronghold_vault::Stronghold;
use thiserror::Error;
use url::{Host, Url};
use zeroize::Zeroizing;

/// The parameter of an address that names the login.
const LOGIN: &str = "login";

/// The address of a place on a server: `s3://BUCKET/FOLDER`, with the parameters `region` and
/// `endpoint` where they are not Amazon's; the `https://` address of a folder on a WebDAV server;
/// `sftp://USER@HOST:PORT/FOLDER`, `/~/FOLDER` in the home of the user; `dropbox:///FOLDER` or
/// `gdrive:///FOLDER`. `login` names the login in the vault. An address is not secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePlace {
    pub(super) url: Url,
    pub(super) kind: PlaceKind,
    pub(super) endpoint: Option<Url>,
    pub(super) region: Option<String>,
    login: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceKind {
    S3,
    WebDav,
    Sftp,
    Dropbox,
    Drive,
}

/// A text that is not the address of a place on a server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePlaceError {
    /// It is no address, or of another kind.
    #[error(
        "an address is s3://BUCKET/FOLDER, sftp://USER@HOST/FOLDER, dropbox:///FOLDER, gdrive:///FOLDER, \
         or https:// and a folder on a WebDAV server"
    )]
    Kind,
    /// It has a password, or a user, which do not belong there.
    #[error("an address has no password, and only sftp:// a user: name the login that has them")]
    Secret,
    /// It is not encrypted, and not on this computer.
    #[error("http:// would send the login unencrypted: use https://")]
    Unencrypted,
    /// It has a parameter that is not known.
    #[error("the parameters of an address are login, and for S3 region and endpoint")]
    Parameter,
    /// It names a login of the vault, which `ssh` can't use.
    #[error("sftp:// takes no login of the vault: `ssh` finds the key, by its agent, files or settings")]
    SshLogin,
}

/// The user and password of a server; for S3, the id and secret of an access key; for Dropbox and
/// Google Drive, the id and secret of an app, and its refresh token. `Debug` hides the password and
/// the token, which are wiped when dropped.
#[derive(Clone)]
pub struct Login {
    /// The user's name, or the id of the key or app.
    pub user: String,
    /// The password, or the secret of the key or app.
    pub password: Zeroizing<String>,
    /// The refresh token of an app.
    pub token: Option<Zeroizing<String>>,
}

impl Login {
    /// Reads a login of the vault, by its location: the records `username`, `password` and, if it
    /// is there, `token`. Returns `None` if one of the first two is not there.
    pub fn read(stronghold: &Stronghold, location: &str) -> Option<Self> {
        let read = |field: &str| {
            let value = stronghold.read(&format!("{location}/{field}").parse().ok()?).ok()?;
            Some(Zeroizing::new(std::str::from_utf8(&value.revision.value).ok()?.to_owned()))
        };
        let user = read("username")?.to_string();
        Some(Self { user, password: read("password")?, token: read("token") })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl RemotePlace {
    /// Parses an address.
    ///
    /// # Errors
    /// [`ParsePlaceError`].
    pub fn parse(text: &str) -> Result<Self, ParsePlaceError> {
        let mut url = Url::parse(text).map_err(|_| ParsePlaceError::Kind)?;
        let kind = PlaceKind::of(&url).ok_or(ParsePlaceError::Kind)?;
        if url.fragment().is_some() {
            return Err(ParsePlaceError::Kind);
        }
        if url.password().is_some() || !url.username().is_empty() && kind != PlaceKind::Sftp {
            return Err(ParsePlaceError::Secret);
        }
        let (mut endpoint, mut region, mut login) = (None, None, None);
        for (name, value) in url.query_pairs() {
            match (&*name, kind) {
                (LOGIN, PlaceKind::Sftp) => return Err(ParsePlaceError::SshLogin),
                (LOGIN, _) => login = Some(value.into_owned()),
                ("region", PlaceKind::S3) => region = Some(value.into_owned()),
                ("endpoint", PlaceKind::S3) => {
                    endpoint = Some(Url::parse(&value).map_err(|_| ParsePlaceError::Kind)?);
                }
                _ => return Err(ParsePlaceError::Parameter),
            }
        }
        url.set_query(None);
        let server = endpoint.as_ref().or((kind == PlaceKind::WebDav).then_some(&url));
        if server.is_some_and(|server| server.scheme() != "https" && !is_here(server)) {
            return Err(ParsePlaceError::Unencrypted);
        }
        Ok(Self { url, kind, endpoint, region, login })
    }

    /// Returns the location of the login, as the address names it.
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// Names the login to use.
    ///
    /// # Errors
    /// [`ParsePlaceError::SshLogin`] for a place that `ssh` reaches.
    pub fn with_login(mut self, location: &str) -> Result<Self, ParsePlaceError> {
        if self.kind == PlaceKind::Sftp {
            return Err(ParsePlaceError::SshLogin);
        }
        self.login = Some(location.to_owned());
        Ok(self)
    }

    /// Returns the path of the place, without the slashes around it.
    pub(super) fn path(&self) -> String {
        percent_decode_str(self.url.path().trim_matches('/')).decode_utf8_lossy().into_owned()
    }

    /// Returns the user, host and port of a place that `ssh` reaches.
    pub(super) fn ssh(&self) -> (Option<String>, String, Option<u16>) {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let user = percent_decode_str(self.url.username()).decode_utf8_lossy();
        ((!user.is_empty()).then(|| user.into_owned()), host.to_owned(), self.url.port())
    }
}

impl PlaceKind {
    /// Returns the kind of place that an address is of, if it has or lacks a host as it must.
    fn of(url: &Url) -> Option<Self> {
        let kind = match url.scheme() {
            "s3" => Self::S3,
            "https" | "http" => Self::WebDav,
            "sftp" => Self::Sftp,
            "dropbox" => Self::Dropbox,
            "gdrive" => Self::Drive,
            _ => return None,
        };
        let host = url.host_str().unwrap_or_default();
        let is_usable = match kind {
            Self::S3 | Self::WebDav => !host.is_empty(),
            // None of them is an option of `ssh`, nor means anything in its settings.
            Self::Sftp => {
                let user = percent_decode_str(url.username()).decode_utf8_lossy();
                is_word(host.trim_matches(['[', ']'])) && (user.is_empty() || is_word(&user))
            }
            Self::Dropbox | Self::Drive => host.is_empty(),
        };
        is_usable.then_some(kind)
    }
}

/// Returns whether a text can be a user or host on the command line of `ssh`.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+@:-".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain)
}

impl fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        let endpoint = self.endpoint.as_ref().map(Url::as_str);
        let parameters = [("region", self.region.as_deref()), ("endpoint", endpoint), (LOGIN, self.login())];
        for (name, value) in parameters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        f.write_str(url.as_str())
    }
}

/// Returns whether a server is on this computer.
fn is_here(server: &Url) -> bool {
    match server.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::is_address;

    #[test]
    fn addresses_hold_no_secret() {
        for address in [
            "s3://bucket/some/folder",
            "s3://bucket/?region=eu-central-1&endpoint=https%3A%2F%2Fs3.example%2F&login=wallet%2Fs3",
            "https://cloud.example/remote.php/dav/files/me/stronghold?login=wallet%2Fcloud%2Fdav",
            "http://127.0.0.1:8080/",
            "sftp://me@host.example:2222/srv/vaults",
            "sftp://host/~/vaults",
            "sftp://[::1]/vaults",
            "dropbox:///vaults?login=wallet%2Fbox",
            "gdrive:///some/vaults",
        ] {
            assert_eq!(RemotePlace::parse(address).map(|place| place.to_string()), Ok(address.to_owned()));
            assert!(is_address(address));
        }
        for (text, error) in [
            ("/media/stick", ParsePlaceError::Kind),
            ("ftp://host/folder", ParsePlaceError::Kind),
            ("s3:///folder", ParsePlaceError::Kind),
            ("dropbox://folder", ParsePlaceError::Kind),
            ("gdrive://me:secret@/folder", ParsePlaceError::Kind),
            ("sftp:///folder", ParsePlaceError::Kind),
            ("sftp://-oProxyCommand=x/folder", ParsePlaceError::Kind),
            ("sftp://-F@host/folder", ParsePlaceError::Kind),
            ("sftp://a%20b/folder", ParsePlaceError::Kind),
            ("sftp://%25h@host/folder", ParsePlaceError::Kind),
            ("https://host/folder#part", ParsePlaceError::Kind),
            ("https://me:secret@host/folder", ParsePlaceError::Secret),
            ("https://me@host/folder", ParsePlaceError::Secret),
            ("sftp://me:secret@host/folder", ParsePlaceError::Secret),
            ("http://host/folder", ParsePlaceError::Unencrypted),
            ("s3://bucket/folder?endpoint=http://host", ParsePlaceError::Unencrypted),
            ("s3://bucket/folder?endpoint=host", ParsePlaceError::Kind),
            ("s3://bucket/folder?password=1", ParsePlaceError::Parameter),
            ("https://host/folder?region=eu", ParsePlaceError::Parameter),
            ("sftp://host/folder?login=wallet%2Fssh", ParsePlaceError::SshLogin),
        ] {
            assert_eq!(RemotePlace::parse(text), Err(error), "{text}");
        }
        assert!(!is_address("/media/stick") && !is_address("folder/a://b"));
    }

    #[test]
    fn a_login_can_be_named_later_but_not_for_ssh() {
        let place = RemotePlace::parse("s3://bucket/folder").unwrap().with_login("wallet/my s3").unwrap();
        assert_eq!(place.to_string(), "s3://bucket/folder?login=wallet%2Fmy+s3");
        assert_eq!(RemotePlace::parse(&place.to_string()).unwrap().login(), Some("wallet/my s3"));
        let place = RemotePlace::parse("sftp://me@[::1]:22/~/folder").unwrap();
        assert_eq!(place.ssh(), (Some("me".to_owned()), "::1".to_owned(), Some(22)));
        assert_eq!(place.with_login("wallet/ssh"), Err(ParsePlaceError::SshLogin));
    }
}
