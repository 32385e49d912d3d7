//! Arbitrary bytes as a change of a Stronghold, from an author with the file's key. What is applied
//! without an error is a state that can be stored and loaded.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_vault::Stronghold;

const BASE: &[u8] = include_bytes!("../seeds/payload/history");

fuzz_target!(|bytes: &[u8]| {
    let mut stronghold = Stronghold::from_payload(BASE).expect("a seed loads");
    if stronghold.apply_changes(bytes).is_ok() {
        let encoded = stronghold.to_payload().expect("it is whole");
        let again = Stronghold::from_payload(&encoded).expect("what was applied loads");
        assert!(again.to_payload().expect("it is whole") == encoded);
    }
});
