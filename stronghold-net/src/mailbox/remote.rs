//! Stores on servers: a bucket of S3 and what speaks like it, or a folder of a WebDAV server.

use std::{fmt, sync::Once, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use http::{Request, Response};
use opendal::{
    Buffer, EntryMode, ErrorKind, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator,
    layers::TimeoutLayer, services,
};
use percent_encoding::percent_decode_str;
use stronghold_vault::Stronghold;
use thiserror::Error;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::store::{Listing, Store, StoreError, is_name};
use crate::session::handler::BoxFuture;

/// Time limit for one request, and for each part of its content.
const REQUEST: Duration = Duration::from_secs(60);
/// Maximum length of an answer, in bytes: the listing of a folder comes in one.
const MAX_ANSWER: usize = 64 << 20;
/// The parameter of an address that names the login.
const LOGIN: &str = "login";

/// The address of a place on a server: `s3://BUCKET/FOLDER`, with the parameters `region` and
/// `endpoint` where they are not Amazon's, or the `https://` address of a folder on a WebDAV
/// server. `login` names the login in the vault. An address is not secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePlace {
    url: Url,
    kind: PlaceKind,
    endpoint: Option<Url>,
    region: Option<String>,
    login: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceKind {
    S3,
    WebDav,
}

/// A text that is not the address of a place on a server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePlaceError {
    /// It is no address, or of another kind.
    #[error("an address is s3://BUCKET/FOLDER, or https:// and a folder on a WebDAV server")]
    Kind,
    /// It has a user or a password, which do not belong there.
    #[error("an address has no user and no password: name the login that has them")]
    Secret,
    /// It is not encrypted, and not on this computer.
    #[error("http:// would send the login unencrypted: use https://")]
    Unencrypted,
    /// It has a parameter that is not known.
    #[error("the parameters of an address are login, and for S3 region and endpoint")]
    Parameter,
}

/// The user and password of a server; for S3, the id and secret of an access key. `Debug` hides
/// the password, which is wiped when dropped.
#[derive(Clone)]
pub struct Login {
    /// The user's name, or the key's id.
    pub user: String,
    /// The password, or the key's secret.
    pub password: Zeroizing<String>,
}

impl Login {
    /// Reads a login of the vault, by its location: the records `username` and `password` there.
    /// Returns `None` if one of them is not there.
    pub fn read(stronghold: &Stronghold, location: &str) -> Option<Self> {
        let read = |field: &str| {
            let value = stronghold.read(&format!("{location}/{field}").parse().ok()?).ok()?;
            Some(Zeroizing::new(std::str::from_utf8(&value.revision.value).ok()?.to_owned()))
        };
        Some(Self { user: read("username")?.to_string(), password: read("password")? })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The folder of a pair in a place on a server.
#[derive(Clone)]
pub struct Remote {
    operator: Operator,
    kind: PlaceKind,
    /// The place's path from the root of the server or bucket: empty, or with a slash at its end.
    place: String,
    pair: String,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("kind", &self.kind).field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl RemotePlace {
    /// Parses an address.
    ///
    /// # Errors
    /// [`ParsePlaceError`].
    pub fn parse(text: &str) -> Result<Self, ParsePlaceError> {
        let mut url = Url::parse(text).map_err(|_| ParsePlaceError::Kind)?;
        let kind = match url.scheme() {
            "s3" => PlaceKind::S3,
            "https" | "http" => PlaceKind::WebDav,
            _ => return Err(ParsePlaceError::Kind),
        };
        if url.host_str().is_none_or(str::is_empty) || url.fragment().is_some() {
            return Err(ParsePlaceError::Kind);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ParsePlaceError::Secret);
        }
        let (mut endpoint, mut region, mut login) = (None, None, None);
        for (name, value) in url.query_pairs() {
            match (&*name, kind) {
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
    pub fn with_login(mut self, location: &str) -> Self {
        self.login = Some(location.to_owned());
        self
    }
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

impl Remote {
    /// Opens the folder of a pair, [`PairKeys::folder`](super::PairKeys::folder), in a place. No
    /// request is made. Without a login, S3 uses the environment and the files of Amazon's tools,
    /// and WebDAV none.
    ///
    /// # Errors
    /// [`StoreError::Server`] if the place can't be used at all.
    pub fn new(place: &RemotePlace, login: Option<&Login>, pair: &str) -> Result<Self, StoreError> {
        static TRANSPORT: Once = Once::new();
        TRANSPORT.call_once(opendal::install_default);
        let operator = match place.kind {
            PlaceKind::S3 => place.s3(login),
            PlaceKind::WebDav => place.webdav(login),
        };
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(Bounded(MAX_ANSWER)));
        let limit = TimeoutLayer::new().with_timeout(REQUEST).with_io_timeout(REQUEST);
        let path = percent_decode_str(place.url.path().trim_matches('/')).decode_utf8_lossy();
        let path = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Self {
            operator: operator?.with_context(context).layer(limit),
            kind: place.kind,
            place: path,
            pair: pair.to_owned(),
        })
    }

    fn path(&self, name: &str) -> Result<String, StoreError> {
        if !is_name(name) {
            return Err(StoreError::Name);
        }
        Ok(format!("{}{name}", self.folder()))
    }

    /// Returns the path of the pair's folder.
    fn folder(&self) -> String {
        format!("{}{}/", self.place, self.pair)
    }

    async fn list_now(self, limit: usize) -> Result<Listing, StoreError> {
        let mut listing = Listing { is_complete: true, ..Listing::default() };
        let folder = self.folder();
        let mut found = self.operator.lister(&folder).await?;
        let mut is_empty = true;
        while let Some(entry) = found.try_next().await? {
            is_empty = false;
            // A server lists the folder itself, too.
            if entry.path() == folder {
                continue;
            }
            if listing.names.len() + listing.others >= limit {
                listing.is_complete = false;
                return Ok(listing);
            }
            let is_object = entry.metadata().mode() == EntryMode::FILE && is_name(entry.name());
            match is_object {
                true => listing.names.push(entry.name().to_owned()),
                false => listing.others += 1,
            }
        }
        // A folder that is not there is listed as an empty one: then the place must be there.
        if is_empty && self.kind == PlaceKind::WebDav && !self.place.is_empty() {
            self.operator.stat(&self.place).await?;
        }
        Ok(listing)
    }

    async fn get_now(self, path: String, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let missing = |error: &opendal::Error| error.kind() == ErrorKind::NotFound;
        let reader = match self.operator.reader(&path).await {
            Err(error) if missing(&error) => return Ok(None),
            reader => reader?,
        };
        let mut content = match reader.into_bytes_stream(..).await {
            Err(error) if missing(&error) => return Ok(None),
            content => content?,
        };
        let mut object = Vec::new();
        loop {
            let part = match content.try_next().await {
                // The stream's errors are of input and output, with the store's inside.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(_) => return Err(StoreError::Server("the answer can't be read")),
                Ok(part) => part,
            };
            let Some(part) = part else { return Ok(Some(object)) };
            if object.len() + part.len() > limit {
                return Err(StoreError::TooLong(limit));
            }
            object.extend_from_slice(&part);
        }
    }
}

/// Sends requests as the usual transport does, and ends answers at a length: a server could send
/// one without end.
struct Bounded(usize);

impl HttpTransport for Bounded {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (answer, limit) = (HttpTransporter::default().fetch(request).await?, self.0);
        Ok(answer.map(|body| {
            body.map_inner(|parts| {
                let mut read = 0_usize;
                Box::new(parts.map(move |part| {
                    let part = part?;
                    read = read.saturating_add(part.len());
                    match read <= limit {
                        true => Ok(part),
                        false => Err(opendal::Error::new(ErrorKind::Unexpected, "the answer is too long")),
                    }
                }))
            })
        }))
    }
}

impl RemotePlace {
    fn s3(&self, login: Option<&Login>) -> Result<Operator, StoreError> {
        let mut place = services::S3::default()
            .bucket(self.url.host_str().unwrap_or_default())
            .region(self.region.as_deref().unwrap_or("us-east-1"))
            // It would ask a server in the network that it is in.
            .disable_ec2_metadata();
        if let Some(endpoint) = &self.endpoint {
            place = place.endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        if let Some(login) = login {
            place = place.access_key_id(&login.user).secret_access_key(&login.password).disable_config_load();
        }
        Ok(Operator::new(place)?)
    }

    fn webdav(&self, login: Option<&Login>) -> Result<Operator, StoreError> {
        let mut server = self.url.clone();
        server.set_path("");
        let mut place = services::Webdav::default().endpoint(server.as_str().trim_end_matches('/'));
        if let Some(login) = login {
            place = place.username(&login.user).password(&login.password);
        }
        Ok(Operator::new(place)?)
    }
}

impl From<opendal::Error> for StoreError {
    /// Keeps the kind alone: the rest is the server's text.
    fn from(error: opendal::Error) -> Self {
        // For WebDAV, a missing or wrong login is an unexpected answer.
        let is_status = |status: &str| format!("{error:?}").contains(&format!("status: {status}"));
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::Unexpected if is_status("401") || is_status("403") => Self::Denied,
            // A bucket that is not there is an invalid setting.
            ErrorKind::NotFound | ErrorKind::ConfigInvalid => Self::NoPlace,
            kind => Self::Server(kind.into_static()),
        }
    }
}

impl Store for Remote {
    fn list(&self, limit: usize) -> BoxFuture<Result<Listing, StoreError>> {
        Box::pin(self.clone().list_now(limit))
    }

    fn get(&self, name: &str, limit: usize) -> BoxFuture<Result<Option<Vec<u8>>, StoreError>> {
        let (this, path) = (self.clone(), self.path(name));
        Box::pin(async move { this.get_now(path?, limit).await })
    }

    fn put(&self, name: &str, object: Vec<u8>) -> BoxFuture<Result<(), StoreError>> {
        let (operator, path) = (self.operator.clone(), self.path(name));
        Box::pin(async move {
            operator.write(&path?, object).await?;
            Ok(())
        })
    }

    fn delete(&self, name: &str) -> BoxFuture<Result<(), StoreError>> {
        let (operator, path) = (self.operator.clone(), self.path(name));
        Box::pin(async move { Ok(operator.delete(&path?).await?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::is_address;

    #[test]
    fn addresses_are_of_s3_and_webdav_and_hold_no_secret() {
        for address in [
            "s3://bucket/some/folder",
            "s3://bucket/?region=eu-central-1&endpoint=https%3A%2F%2Fs3.example%2F&login=wallet%2Fs3",
            "https://cloud.example/remote.php/dav/files/me/stronghold?login=wallet%2Fcloud%2Fdav",
            "http://127.0.0.1:8080/",
        ] {
            assert_eq!(RemotePlace::parse(address).map(|place| place.to_string()), Ok(address.to_owned()));
            assert!(is_address(address));
        }
        for (text, error) in [
            ("/media/stick", ParsePlaceError::Kind),
            ("ftp://host/folder", ParsePlaceError::Kind),
            ("s3:///folder", ParsePlaceError::Kind),
            ("https://host/folder#part", ParsePlaceError::Kind),
            ("https://me:secret@host/folder", ParsePlaceError::Secret),
            ("https://me@host/folder", ParsePlaceError::Secret),
            ("http://host/folder", ParsePlaceError::Unencrypted),
            ("s3://bucket/folder?endpoint=http://host", ParsePlaceError::Unencrypted),
            ("s3://bucket/folder?endpoint=host", ParsePlaceError::Kind),
            ("s3://bucket/folder?password=1", ParsePlaceError::Parameter),
            ("https://host/folder?region=eu", ParsePlaceError::Parameter),
        ] {
            assert_eq!(RemotePlace::parse(text), Err(error), "{text}");
        }
        assert!(!is_address("/media/stick") && !is_address("folder/a://b"));
    }

    #[test]
    fn a_login_can_be_named_later_and_no_password_is_shown() {
        let place = RemotePlace::parse("s3://bucket/folder").unwrap().with_login("wallet/my s3");
        assert_eq!(place.to_string(), "s3://bucket/folder?login=wallet%2Fmy+s3");
        assert_eq!(RemotePlace::parse(&place.to_string()).unwrap().login(), Some("wallet/my s3"));
        let login = Login { user: "me".into(), password: Zeroizing::new("canary".into()) };
        let store = Remote::new(&place, Some(&login), "ab").unwrap();
        assert!(!format!("{login:?} {place:?} {store:?}").contains("canary"));
    }

    /// A server that answers each request with bytes without end.
    #[tokio::test]
    async fn an_answer_without_end_is_an_error() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/place", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 4_096];
                let read = stream.read(&mut request).unwrap_or(0);
                let is_get = request[..read].starts_with(b"GET");
                let status =
                    if is_get { "200 OK\r\nContent-Length: 99999999999" } else { "207 Multi-Status" };
                let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n\r\n<");
                let mut alive = stream.write_all(head.as_bytes()).is_ok();
                while alive {
                    alive = stream.write_all(&[b'x'; 65_536]).is_ok();
                }
            }
        });
        let store = Remote::new(&RemotePlace::parse(&address).unwrap(), None, "ab").unwrap();
        assert!(matches!(store.list(10).await, Err(StoreError::Server(_))));
        let got = store.get("ab", 1_000).await;
        assert!(matches!(got, Err(StoreError::TooLong(1_000))), "{got:?}");
    }
}
