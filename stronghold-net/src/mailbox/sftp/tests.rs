//! Tests SFTP with OpenSSH's server, where it is installed, and with servers that lie.
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{fs, path::Path};

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;

const NAME: &str = "0123456789abcdef";
/// OpenSSH's server, which speaks on its standard input and output.
const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// Returns the folder `ab` of a place, by OpenSSH's server; `None` if it is not installed.
fn store(place: &Path) -> Option<Sftp> {
    if !Path::new(SERVER).exists() {
        eprintln!("skipped: there is no {SERVER}");
        return None;
    }
    Some(Sftp::over(vec![SERVER.to_owned()], place.to_str().unwrap(), "ab"))
}

#[tokio::test]
async fn an_object_is_put_listed_read_and_deleted() {
    let place = tempfile::tempdir().unwrap();
    let Some(store) = store(place.path()) else { return };
    let empty = Listing { is_complete: true, ..Listing::default() };
    assert_eq!(store.list(9).await.unwrap(), empty);
    assert_eq!(store.get(NAME, 9).await.unwrap(), None);
    store.delete(NAME).await.unwrap();
    assert!(fs::read_dir(place.path()).unwrap().next().is_none(), "looking makes nothing");

    // More parts than are written ahead of the answers, and one more byte.
    let object: Vec<u8> = (0..20 * 32_768 + 1_u32).map(|at| (at % 251) as u8).collect();
    store.put(NAME, object.clone()).await.unwrap();
    assert_eq!(store.list(9).await.unwrap().names, [NAME]);
    assert_eq!(store.get(NAME, object.len()).await.unwrap().unwrap(), object);
    let long = store.get(NAME, object.len() - 1).await.unwrap_err();
    assert!(matches!(long, StoreError::TooLong(_)), "{long:?}");
    assert!(store.put(NAME, b"other".to_vec()).await.is_err());
    assert_eq!(store.get(NAME, object.len()).await.unwrap().unwrap(), object, "it is never overwritten");
    store.delete(NAME).await.unwrap();
    assert_eq!(store.list(9).await.unwrap().names, [""; 0]);
    assert!(matches!(store.get("../ab", 9).await, Err(StoreError::Name)));
}

#[tokio::test]
async fn a_listing_ends_at_its_limit_counts_the_rest_and_removes_what_was_left_behind() {
    let place = tempfile::tempdir().unwrap();
    let Some(store) = store(place.path()) else { return };
    store.put(NAME, Vec::new()).await.unwrap();
    assert_eq!(store.get(NAME, 0).await.unwrap().unwrap(), b"");
    let pair = place.path().join("ab");
    for name in ["0123 (conflicted copy)", ".00", "ABCD"] {
        fs::write(pair.join(name), "").unwrap();
    }
    fs::create_dir(pair.join("00")).unwrap();
    #[cfg(unix)]
    {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        fs::write(pair.join(OsStr::from_bytes(b"\xff\xfe")), "").unwrap();
        std::os::unix::fs::symlink(pair.join(NAME), pair.join("0a")).unwrap();
    }
    let [old, new] = ["0", "1"].map(|digit| pair.join(format!(".{}", digit.repeat(32))));
    fs::write(&new, "").unwrap();
    let day_ago = std::time::SystemTime::now() - Duration::from_secs(25 * 3_600);
    fs::File::create(&old).unwrap().set_modified(day_ago).unwrap();
    let listing = store.list(99).await.unwrap();
    let expected = Listing { names: vec![NAME.into()], others: 7, is_complete: true };
    assert_eq!(listing, expected);
    assert!(!old.exists() && new.exists());
    for limit in 0..8 {
        let listing = store.list(limit).await.unwrap();
        assert_eq!(listing.names.len() + listing.others, limit);
        assert!(!listing.is_complete);
    }
}

#[tokio::test]
async fn a_place_that_is_not_there_is_an_error_and_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let Some(store) = store(&place) else { return };
    assert!(matches!(store.list(9).await, Err(StoreError::NoPlace)));
    assert!(matches!(store.put(NAME, Vec::new()).await, Err(StoreError::NoPlace)));
    fs::write(&place, "a file").unwrap();
    assert!(store.list(9).await.is_err());
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    store.put(NAME, b"content".to_vec()).await.unwrap();
    fs::remove_dir_all(&place).unwrap();
    assert!(matches!(store.list(9).await, Err(StoreError::NoPlace)));
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_none_that_waits_for_its_answer() {
    let place = tempfile::tempdir().unwrap();
    let Some(store) = store(place.path()) else { return };
    store.put(NAME, vec![7; 100_000]).await.unwrap();
    for time in 0..200 {
        let got = timeout(Duration::from_micros(time * 10), store.get(NAME, 100_000)).await;
        assert!(got.is_err() || got.unwrap().unwrap() == Some(vec![7; 100_000]));
    }
    assert_eq!(store.get(NAME, 100_000).await.unwrap(), Some(vec![7; 100_000]));
}

/// Returns the error of connecting by a program.
async fn error_of(program: &[&str]) -> StoreError {
    let program = program.iter().map(|word| (*word).to_owned()).collect();
    let listed = timeout(Duration::from_secs(20), Sftp::over(program, "/", "ab").list(9)).await;
    listed.unwrap().unwrap_err()
}

#[tokio::test]
async fn what_ssh_says_is_an_error_of_its_own() {
    assert!(matches!(error_of(&["/no/such/program"]).await, StoreError::NoSsh));
    let says = |text: &str| format!("echo '{text}' >&2; exit 255");
    for (text, expected) in [
        ("Host key verification failed.", "HostKey"),
        ("me@host: Permission denied (publickey).", "Denied"),
        ("subsystem request failed on channel 0", "Server(\"it has no SFTP\")"),
        ("ssh: connect to host h port 22: Connection refused", "Server(\"the connection ended\")"),
    ] {
        let error = error_of(&["sh", "-c", &says(text)]).await;
        assert_eq!(format!("{error:?}"), expected, "{text}");
    }
    // A banner without end, then the reason.
    let many = format!("yes banner | head -c 1000000 >&2; {}", says("Host key verification failed."));
    assert!(matches!(error_of(&["sh", "-c", &many]).await, StoreError::HostKey));
    let broken = error_of(&["sh", "-c", "echo 'Welcome to this server, please read the rules'; cat"]).await;
    assert!(matches!(broken, StoreError::Server("the answer can't be read")), "{broken:?}");
}

#[test]
fn ssh_asks_nobody_and_gets_no_option_from_an_address() {
    let place = RemotePlace::parse("sftp://me@host.example:2222/~/vaults").unwrap();
    let words = ssh(&place).join(" ");
    assert!(words.starts_with("ssh -o BatchMode=yes -o StrictHostKeyChecking=yes "), "{words}");
    assert!(words.ends_with(" -p 2222 -l me -s -- host.example sftp"), "{words}");
    for (address, place, pair) in [
        ("sftp://h/srv/vaults/", "/srv/vaults", "/srv/vaults/ab"),
        ("sftp://h/~/some%20vaults", "some vaults", "some vaults/ab"),
        ("sftp://h/~", ".", "./ab"),
        ("sftp://h", "/", "/ab"),
        ("sftp://h/~root", "/~root", "/~root/ab"),
    ] {
        let store = Sftp::new(&RemotePlace::parse(address).unwrap(), "ab");
        assert_eq!((store.place.as_str(), store.pair.as_str()), (place, pair), "{address}");
    }
}

/// Returns a session whose server has already said `answers`.
async fn lied_to(answers: &[u8]) -> (Session, DuplexStream) {
    let (input, mut said) = duplex(1 << 20);
    said.write_all(answers).await.unwrap();
    let (output, heard) = duplex(1 << 20);
    drop(said);
    (Session::new(Box::new(input), Box::new(output)), heard)
}

/// Returns a message with its length before it.
fn message(parts: &[&[u8]]) -> Vec<u8> {
    let message = parts.concat();
    [&(message.len() as u32).to_be_bytes(), message.as_slice()].concat()
}

const ONE: [u8; 4] = [0, 0, 0, 1];
const TWO: [u8; 4] = [0, 0, 0, 2];

/// Every cut of a right answer, and lengths and numbers that lie, are errors of the right kind.
#[tokio::test]
async fn a_server_that_lies_is_an_error() {
    let version = message(&[&[2, 0, 0, 0, 3, 0, 0, 0, 1, b'a', 0, 0, 0, 0]]);
    for cut in 0..version.len() {
        let (mut session, _heard) = lied_to(&version[..cut]).await;
        assert_eq!(session.begin().await, Err(Fault::Ended), "{cut} bytes");
        if cut > 4 {
            let (mut session, _heard) = lied_to(&message(&[&version[4..cut]])).await;
            let begun = session.begin().await;
            assert!(begun == Err(Fault::Broken) || cut == 9, "{cut} bytes: {begun:?}");
        }
    }
    let huge = [0xff; 8];
    for answer in [&huge[..], &message(&[&[3, 0, 0, 0, 3]]), &message(&[&[2, 0, 0, 0, 2]]), &message(&[])] {
        let (mut session, _heard) = lied_to(answer).await;
        assert_eq!(session.begin().await, Err(Fault::Broken), "{answer:?}");
    }
    let handle = message(&[&[102], &ONE, &ONE, b"h"]);
    let more = [0xff, 0xff, 0xff, 0xff];
    for second in [
        message(&[&[104], &TWO, &[0; 4]]),
        message(&[&[104], &TWO, &more]),
        message(&[&[104], &TWO, &ONE, &more, b"name"]),
        message(&[&[104], &TWO, &ONE, &ONE, b"a", &ONE, b"a", &[0x80, 0, 0, 0], &more]),
        message(&[&[104], &ONE, &ONE]),
        message(&[&[102], &TWO, &ONE, b"h"]),
        message(&[&[101], &TWO, &[0; 4]]),
        message(&[&[101], &TWO]),
    ] {
        let (mut session, _heard) = lied_to(&[handle.as_slice(), &second].concat()).await;
        assert_eq!(session.list("ab", 9).await.map(|_| ()), Err(Fault::Broken), "{second:?}");
    }
    let (mut session, _heard) = lied_to(&[handle, message(&[&[103], &TWO, &[0; 4]])].concat()).await;
    assert_eq!(session.get("ab", 9).await, Err(Fault::Broken), "data without any");
    let (mut session, _heard) = lied_to(&message(&[&[102], &TWO, &ONE, b"h"])).await;
    assert_eq!(session.get("ab", 9).await, Err(Fault::Broken), "the answer to another request");
}
