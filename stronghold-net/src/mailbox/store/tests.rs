//! Tests the folder: what it takes, what it refuses, and what it never touches.

use super::*;

const NAME: &str = "0123456789abcdef";

fn folder() -> (tempfile::TempDir, Folder) {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path(), "ab");
    (place, folder)
}

#[tokio::test]
async fn an_object_is_put_listed_read_and_deleted() {
    let (place, folder) = folder();
    assert_eq!(folder.list(9).await.unwrap(), Listing { is_complete: true, ..Listing::default() });
    assert_eq!(folder.get(NAME, 9).await.unwrap(), None);
    folder.put(NAME, b"content".to_vec()).await.unwrap();
    assert_eq!(folder.list(9).await.unwrap().names, [NAME]);
    assert_eq!(folder.get(NAME, 7).await.unwrap().unwrap(), b"content");
    let long = folder.get(NAME, 6).await.unwrap_err();
    assert!(matches!(long, StoreError::TooLong(6)), "{long:?}");
    let again = folder.put(NAME, b"other".to_vec()).await.unwrap_err();
    assert!(matches!(&again, StoreError::Io(error) if error.kind() == io::ErrorKind::AlreadyExists));
    assert_eq!(folder.get(NAME, 7).await.unwrap().unwrap(), b"content", "it is never overwritten");
    folder.delete(NAME).await.unwrap();
    folder.delete(NAME).await.unwrap();
    assert_eq!(fs::read_dir(place.path().join("ab")).unwrap().count(), 0, "nothing temporary stays");
}

#[tokio::test]
async fn a_listing_ends_at_its_limit_and_counts_the_rest() {
    let (place, folder) = folder();
    folder.put(NAME, Vec::new()).await.unwrap();
    let pair = place.path().join("ab");
    let others = ["0123 (conflicted copy)", ".00", "0123.tmp", "ABCD", &"0".repeat(MAX_STORE_NAME + 1)];
    for name in others {
        fs::write(pair.join(name), "").unwrap();
    }
    fs::create_dir(pair.join("00")).unwrap();
    let listing = folder.list(9).await.unwrap();
    assert_eq!(listing, Listing { names: vec![NAME.into()], others: 6, is_complete: true });
    assert!(folder.list(7).await.unwrap().is_complete, "seven are there");
    let cut = folder.list(6).await.unwrap();
    assert!(!cut.is_complete && cut.names.len() + cut.others == 6, "{cut:?}");
}

#[tokio::test]
async fn a_listing_removes_what_killed_writers_left_a_day_ago() {
    let (place, folder) = folder();
    folder.put(NAME, Vec::new()).await.unwrap();
    let pair = place.path().join("ab");
    let old = SystemTime::now() - LEFT_BEHIND - Duration::from_secs(60);
    let names = [format!(".{}", "0".repeat(32)), format!(".{}", "0".repeat(31)), "0.tmp".into(), NAME.into()];
    for name in &names {
        let file = File::create(pair.join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    File::create(pair.join(format!(".{}", "1".repeat(32)))).unwrap();
    let listing = folder.list(9).await.unwrap();
    assert_eq!((listing.names, listing.others), (vec![NAME.to_owned()], 3));
    assert!(!pair.join(&names[0]).exists() && pair.join(&names[1]).exists() && pair.join(&names[2]).exists());
    assert!(pair.join(format!(".{}", "1".repeat(32))).exists(), "it may be in use");
}

#[tokio::test]
async fn a_name_leads_nowhere_else() {
    let (place, folder) = folder();
    fs::write(place.path().join("secret"), "secret").unwrap();
    for name in ["", "../secret", "..", ".", "a/b", "A", "é", &"0".repeat(MAX_STORE_NAME + 1)] {
        let error = folder.get(name, 9).await.unwrap_err();
        assert!(matches!(error, StoreError::Name), "{name}: {error:?}");
        assert!(matches!(folder.put(name, Vec::new()).await, Err(StoreError::Name)), "{name}");
        assert!(matches!(folder.delete(name).await, Err(StoreError::Name)), "{name}");
    }
    assert!(place.path().join("secret").exists());
}

#[tokio::test]
async fn a_place_that_is_away_is_an_error_and_is_not_made() {
    let (place, _) = folder();
    let away = place.path().join("stick");
    let folder = Folder::new(&away, "ab");
    for error in [folder.list(9).await.unwrap_err(), folder.put(NAME, Vec::new()).await.unwrap_err()] {
        assert!(matches!(&error, StoreError::Io(error) if error.kind() == io::ErrorKind::NotFound));
    }
    assert!(!away.exists());
}

#[cfg(unix)]
#[tokio::test]
async fn only_plain_files_are_read() {
    let (place, folder) = folder();
    let pair = place.path().join("ab");
    fs::create_dir_all(pair.join("01")).unwrap();
    fs::write(place.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(place.path().join("secret"), pair.join("02")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, pair.join("03"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for name in ["01", "02", "03"] {
        let error = folder.get(name, 9).await.unwrap_err();
        assert!(matches!(error, StoreError::NotAFile), "{name}: {error:?}");
    }
    assert_eq!(folder.list(9).await.unwrap(), Listing { names: vec![], others: 3, is_complete: true });
}
