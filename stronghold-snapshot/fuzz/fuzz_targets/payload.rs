//! Arbitrary bytes as the payload of a snapshot, from an author with its key. Every operation on a
//! loaded payload works without a panic, and serializing and loading it again yields the same.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_sync::{Mapping, Scope, Selection};
use stronghold_vault::Stronghold;

fuzz_target!(|bytes: &[u8]| {
    let Ok(stronghold) = Stronghold::from_payload(bytes) else { return };
    ask(&stronghold);
    let encoded = encode(&stronghold);
    let again = Stronghold::from_payload(&encoded).expect("an encoding of ours loads");
    assert!(encode(&again) == encoded, "what was loaded is laid down in another way");
});

/// Performs a user's read operations on an opened Stronghold. Damage may only cause errors.
fn ask(stronghold: &Stronghold) {
    let everything = Selection::everything();
    for listing in stronghold.list(&everything).flatten() {
        let history = stronghold.history(&listing.location).expect("what is listed has a history");
        assert!(history.iter().any(|version| version.revision == listing.revision));
        let _ = stronghold.read(&listing.location);
    }
    let _ = stronghold.verify();
    for (location, heads) in stronghold.conflicts(&everything).unwrap_or_default() {
        assert!(heads.len() > 1, "{location}");
    }
    for shape in stronghold.shapes(&Scope::of(everything), &Mapping::default()) {
        assert!(stronghold.names_of(&shape.location).is_some());
    }
    let _ = stronghold.log().is_intact();
}

fn encode(stronghold: &Stronghold) -> Vec<u8> {
    stronghold.to_payload().expect("what was loaded has an encoding").to_vec()
}
