//! Stores on servers that speak HTTP: a bucket of S3 and what speaks like it, or a folder of a
//! WebDAV server, of Dropbox or Google Drive.

use std::{fmt, sync::Once, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use http::{Request, Response};
use opendal::{
    Buffer, EntryMode, ErrorKind, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator,
    layers::TimeoutLayer, services,
};

use super::{
    place::{Login, PlaceKind, RemotePlace},
    store::{Listing, Store, StoreError, is_name},
};
use crate::session::handler::BoxFuture;

/// Time limit for one request, and for each part of its content.
const REQUEST: Duration = Duration::from_secs(60);
/// Maximum length of an answer, in bytes: the listing of a folder comes in one.
const MAX_ANSWER: usize = 64 << 20;

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

impl Remote {
    /// Opens the folder of a pair, [`PairKeys::folder`](super::PairKeys::folder), in a place. No
    /// request is made. Without a login, S3 uses the environment and the files of Amazon's tools,
    /// and WebDAV none.
    ///
    /// # Errors
    /// [`StoreError::NoToken`] if a login is missing or has no token where it must, and
    /// [`StoreError::Server`] if the place can't be used at all.
    pub fn new(place: &RemotePlace, login: Option<&Login>, pair: &str) -> Result<Self, StoreError> {
        static TRANSPORT: Once = Once::new();
        TRANSPORT.call_once(opendal::install_default);
        let operator = place.operator(login)?;
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(Bounded(MAX_ANSWER)));
        let limit = TimeoutLayer::new().with_timeout(REQUEST).with_io_timeout(REQUEST);
        let path = place.path();
        let path = if path.is_empty() { path } else { path + "/" };
        Ok(Self {
            operator: operator.with_context(context).layer(limit),
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
        if is_empty {
            self.check_place().await?;
        }
        Ok(listing)
    }

    /// Checks that the place is there. A bucket of S3 has no folders, and tells itself that it is
    /// not there.
    async fn check_place(&self) -> Result<(), StoreError> {
        if self.kind != PlaceKind::S3 && !self.place.is_empty() {
            self.operator.stat(&self.place).await?;
        }
        Ok(())
    }

    /// Stores an object. On a WebDAV server, the first one finds no folder for it.
    async fn put_now(self, path: &str, object: Buffer) -> Result<(), StoreError> {
        let is_folder_missing =
            |error: &opendal::Error| error.kind() == ErrorKind::NotFound || is_status(error, "409");
        match self.operator.write(path, object.clone()).await {
            Err(error) if self.kind == PlaceKind::WebDav && is_folder_missing(&error) => {
                self.check_place().await?;
                self.operator.create_dir(&self.folder()).await?;
                self.operator.write(path, object).await?;
            }
            written => _ = written?,
        }
        Ok(())
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
    fn operator(&self, login: Option<&Login>) -> Result<Operator, StoreError> {
        match self.kind {
            PlaceKind::S3 => self.s3(login),
            PlaceKind::WebDav => self.webdav(login),
            PlaceKind::Dropbox | PlaceKind::Drive => self.of_app(login),
            PlaceKind::Sftp => Err(StoreError::Server("`ssh` reaches it, not HTTP")),
        }
    }

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
        let place = services::Webdav::default().endpoint(server.as_str().trim_end_matches('/'));
        // It would look for the folder before each object, and make a place that is not there.
        let mut place = place.disable_create_dir(true);
        if let Some(login) = login {
            place = place.username(&login.user).password(&login.password);
        }
        Ok(Operator::new(place)?)
    }

    /// Opens Dropbox or Google Drive for an app that its user let in.
    fn of_app(&self, login: Option<&Login>) -> Result<Operator, StoreError> {
        let login = login.ok_or(StoreError::NoToken)?;
        let (id, secret) = (&login.user, &login.password);
        let token = login.token.as_ref().ok_or(StoreError::NoToken)?;
        let operator = match self.kind {
            PlaceKind::Dropbox => Operator::new(
                services::Dropbox::default().client_id(id).client_secret(secret).refresh_token(token),
            ),
            _ => Operator::new(
                services::Gdrive::default().client_id(id).client_secret(secret).refresh_token(token),
            ),
        };
        Ok(operator?)
    }
}

/// Returns whether an error is of an HTTP status that has no kind of its own.
fn is_status(error: &opendal::Error, status: &str) -> bool {
    format!("{error:?}").contains(&format!("status: {status}"))
}

impl From<opendal::Error> for StoreError {
    /// Keeps the kind alone: the rest is the server's text.
    fn from(error: opendal::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Denied,
            // For WebDAV, a missing or wrong login is an unexpected answer.
            ErrorKind::Unexpected if is_status(&error, "401") || is_status(&error, "403") => Self::Denied,
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
        let (this, path) = (self.clone(), self.path(name));
        Box::pin(async move { this.put_now(&path?, object.into()).await })
    }

    fn delete(&self, name: &str) -> BoxFuture<Result<(), StoreError>> {
        let (operator, path) = (self.operator.clone(), self.path(name));
        Box::pin(async move { Ok(operator.delete(&path?).await?) })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn no_password_is_shown_and_an_app_needs_its_token() {
        let mut login = Login { user: "me".into(), password: Zeroizing::new("canary".into()), token: None };
        for (address, needs_token) in [
            ("s3://bucket/folder", false),
            ("https://host/folder", false),
            ("dropbox:///folder", true),
            ("gdrive:///folder", true),
        ] {
            let place = RemotePlace::parse(address).unwrap();
            login.token = None;
            let without = Remote::new(&place, Some(&login), "ab");
            assert_eq!(matches!(without, Err(StoreError::NoToken)), needs_token, "{address}");
            login.token = Some(Zeroizing::new("canary".into()));
            let store = Remote::new(&place, Some(&login), "ab").unwrap();
            assert!(!format!("{login:?} {place:?} {store:?}").contains("canary"));
        }
        let place = RemotePlace::parse("dropbox:///folder").unwrap();
        assert!(matches!(Remote::new(&place, None, "ab"), Err(StoreError::NoToken)));
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
