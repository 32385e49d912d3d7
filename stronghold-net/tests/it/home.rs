//! A shared vault is unchanged after a panic.

use crate::common::Device;
use stronghold_sync::Timestamp;
use stronghold_vault::{Labels, Stronghold, WriteError};

fn remove(stronghold: &mut Stronghold) {
    stronghold
        .write(&"half/a/change".parse().unwrap(), b"x", Labels::new(), Timestamp::from_millis(1))
        .unwrap();
    stronghold.remove(&"a/b/c".parse().unwrap(), Timestamp::from_millis(1)).unwrap();
}

fn is_whole(stronghold: &Stronghold) -> bool {
    stronghold.read(&"a/b/c".parse().unwrap()).is_ok()
        && stronghold.read(&"half/a/change".parse().unwrap()).is_err()
}

#[test]
fn a_panic_inside_a_change_leaves_a_shared_home_as_before() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    let before = device.bytes();
    let home = device.home.clone();
    let thread = std::thread::spawn(move || {
        let _ = home.lock().update::<()>(|stronghold| {
            remove(stronghold);
            panic!("in the middle of it")
        });
    });
    assert!(thread.join().is_err());
    assert!(is_whole(device.home.lock().stronghold()), "without a refresh");
    assert_eq!(device.bytes(), before);
    device.put("d/e/f", "2");
    assert!(is_whole(device.home.lock().stronghold()));
    assert!(is_whole(device.opened_again().lock().stronghold()));
}

#[test]
fn an_error_inside_a_change_leaves_a_shared_home_as_before() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    let failed = device.home.lock().update::<()>(|stronghold| {
        remove(stronghold);
        Err(WriteError::NotFound.into())
    });
    assert!(failed.is_err());
    assert!(is_whole(device.home.lock().stronghold()), "without a refresh");
    device.put("d/e/f", "2");
    assert!(is_whole(device.opened_again().lock().stronghold()));
}
