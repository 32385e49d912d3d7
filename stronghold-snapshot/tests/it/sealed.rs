//! Sealed snapshots as bytes: valid ones open, and each kind of invalid input has its error.

use stronghold_snapshot::{
    Damage, MAX_SLOTS, NewSlot, OpenError, PassphraseCost, RecipientSecretKey, SealError, Sealer, SlotKind,
    Unlock, Unsupported, open, seal,
};
use stronghold_sync::Timestamp;

const KEY: [u8; 32] = [5; 32];

fn cheap() -> PassphraseCost {
    PassphraseCost::new(8, 1, 1).unwrap()
}

fn small() -> Vec<u8> {
    seal(&[NewSlot::Key(&KEY)], b"what nobody else may read").unwrap()
}

fn open_small(bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
    open(bytes, &Unlock::Key(&KEY)).map(|opened| opened.payload.to_vec())
}

#[test]
fn each_kind_of_slot_opens_and_only_with_its_own_key() {
    let secret = RecipientSecretKey::generate().unwrap();
    let slots = [
        NewSlot::Passphrase { passphrase: b"correct horse", cost: cheap() },
        NewSlot::Key(&KEY),
        NewSlot::Recipient(&secret.public()),
    ];
    let right = [Unlock::Passphrase(b"correct horse"), Unlock::Key(&KEY), Unlock::Recipient(&secret)];
    let stranger = RecipientSecretKey::generate().unwrap();
    let wrong = [Unlock::Passphrase(b"battery"), Unlock::Key(&[6; 32]), Unlock::Recipient(&stranger)];

    let all = seal(&slots, b"content").unwrap();
    for (i, slot) in slots.iter().enumerate() {
        assert_eq!(&*open(&all, &right[i]).unwrap().payload, b"content");
        assert_eq!(open(&all, &wrong[i]).unwrap_err(), OpenError::WrongKey);
        let one = seal(std::slice::from_ref(slot), b"content").unwrap();
        for (j, unlock) in right.iter().enumerate() {
            let opened = open(&one, unlock).map(|opened| opened.payload.to_vec());
            assert_eq!(opened, if i == j { Ok(b"content".to_vec()) } else { Err(OpenError::WrongKey) });
        }
    }
}

#[test]
fn every_bit_changed_is_a_typed_error() {
    let bytes = small();
    let preamble_of_magic = 8;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let error = open_small(&changed).unwrap_err();
            match at < preamble_of_magic {
                true => assert_eq!(error, OpenError::NotASnapshot, "{at}"),
                false => assert!(matches!(error, OpenError::Damaged(_)), "{at}: {error:?}"),
            }
        }
    }
}

#[test]
fn every_truncation_and_every_appended_byte_is_a_typed_error() {
    let bytes = small();
    for len in 0..bytes.len() {
        let error = open_small(&bytes[..len]).unwrap_err();
        match len < 8 {
            true => assert_eq!(error, OpenError::NotASnapshot, "{len}"),
            false => assert!(matches!(error, OpenError::Damaged(_)), "{len}: {error:?}"),
        }
    }
    for extra in [1, 15, 16, 17, 65_536, 65_552, 70_000] {
        let longer = [bytes.as_slice(), &vec![1; extra]].concat();
        assert_eq!(open_small(&longer), Err(OpenError::Damaged(Damage::Gap)), "{extra}");
    }
}

/// Returns a file of one chunk of 16 KiB: large enough to avoid special cases.
fn large() -> Vec<u8> {
    let payload: Vec<u8> = (0..16_000u32).map(|i| i as u8).collect();
    let bytes = seal(&[NewSlot::Key(&KEY)], &payload).unwrap();
    assert!(bytes.len() >= 16 * 1024);
    bytes
}

/// Checks the error for a file that was changed at `at` or ends there.
fn check_damaged(bytes: &[u8], at: usize) {
    let error = open(bytes, &Unlock::Key(&KEY)).unwrap_err();
    match at < 8 {
        true => assert_eq!(error, OpenError::NotASnapshot, "{at}"),
        false => assert!(matches!(error, OpenError::Damaged(_)), "{at}: {error:?}"),
    }
}

fn flip_every_bit(bytes: &mut [u8], places: std::ops::Range<usize>) {
    for at in places {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            check_damaged(bytes, at);
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(open_small(bytes).is_ok());
}

#[test]
fn every_bit_of_the_first_half_of_16_kib_changed_is_a_typed_error() {
    let mut bytes = large();
    let half = bytes.len() / 2;
    flip_every_bit(&mut bytes, 0..half);
}

#[test]
fn every_bit_of_the_second_half_of_16_kib_changed_is_a_typed_error() {
    let mut bytes = large();
    let half = bytes.len() / 2;
    let end = bytes.len();
    flip_every_bit(&mut bytes, half..end);
}

#[test]
fn every_cut_of_16_kib_is_a_typed_error_and_every_tail_too_but_for_a_torn_one() {
    let bytes = large();
    (0..bytes.len()).for_each(|len| check_damaged(&bytes[..len], len));
    let gap = bytes.len().next_multiple_of(4096) - bytes.len();
    for len in [1, 2, 15, 16, 17, 1000, 49_136, 49_152, 65_536, 65_552, 131_104] {
        let with = |tail: &[u8]| [bytes.as_slice(), tail].concat();
        check_damaged(&with(&vec![0xff; len]), bytes.len());
        let zeros = open(&with(&vec![0; len]), &Unlock::Key(&KEY)).unwrap().payload;
        assert_eq!((zeros.is_torn(), zeros.changes().len()), (len > gap, 0), "{len}");
        let other = with(&[vec![0; gap], vec![0xff; len]].concat());
        let other = open(&other, &Unlock::Key(&KEY)).unwrap().payload;
        assert_eq!((other.is_torn(), &*other), (true, &*zeros));
    }
    check_damaged(&[&bytes[..], &bytes[..]].concat(), bytes.len());
}

#[test]
fn what_is_no_snapshot_and_what_is_newer_is_told_apart() {
    assert_eq!(open_small(b""), Err(OpenError::NotASnapshot));
    assert_eq!(open_small(b"PK\x03\x04 some other kind of file"), Err(OpenError::NotASnapshot));
    // A complete file of a later version: its header is otherwise unknown, its checksum correct.
    let mut newer = small();
    newer[8..10].copy_from_slice(&7u16.to_be_bytes());
    renew_checksum(&mut newer);
    assert_eq!(open_small(&newer), Err(OpenError::NewerVersion { found: 7, supported: 1 }));
}

#[test]
fn a_forged_header_with_a_right_checksum_is_not_authentic() {
    let mut forged = small();
    let generation = 32 + 16;
    forged[generation + 7] = 9;
    renew_checksum(&mut forged);
    assert_eq!(open_small(&forged), Err(OpenError::Damaged(Damage::HeaderMac)));
}

#[test]
fn a_file_that_asks_for_too_much_is_refused_before_memory_is_taken() {
    let slots = [NewSlot::Passphrase { passphrase: b"p", cost: cheap() }];
    let bytes = seal(&slots, b"content").unwrap();
    let cost_at = 32 + 16 + 8 + 32 + 32 + 8 + 1 + 2 + 1 + 32;
    for (memory, passes, lanes) in [
        (u32::MAX, 1, 1),
        (1 << 21, 1, 1),
        (7, 1, 1),
        (8, 0, 1),
        (8, 17, 1),
        (8, 1, 0),
        (8, 1, 2),
        (1 << 20, 1, 17),
        (8, u32::MAX, u32::MAX),
    ] {
        let mut greedy = bytes.clone();
        let fields = [memory, passes, lanes];
        fields.iter().enumerate().for_each(|(i, field)| {
            greedy[cost_at + 4 * i..][..4].copy_from_slice(&u32::to_be_bytes(*field));
        });
        renew_checksum(&mut greedy);
        let error = open(&greedy, &Unlock::Passphrase(b"p")).unwrap_err();
        assert!(matches!(error, OpenError::Unsupported(_)), "{memory} {passes} {lanes}: {error:?}");
        assert!(PassphraseCost::new(memory, passes, lanes).is_err());
    }
    assert!(PassphraseCost::new(1 << 20, 16, 16).is_ok());
    assert_eq!(PassphraseCost::default(), PassphraseCost::new(65_536, 3, 4).unwrap());
}

#[test]
fn the_next_generation_keeps_the_slots_and_opens_without_them() {
    let slots = [NewSlot::Passphrase { passphrase: b"p", cost: cheap() }];
    let first = seal(&slots, b"one").unwrap();
    let opened = open(&first, &Unlock::Passphrase(b"p")).unwrap();
    let second = opened.sealer.seal_next(b"two").unwrap();
    assert_eq!((first.len(), first[..32].len()), (second.len(), 32));
    assert_eq!(slot_bytes(&first), slot_bytes(&second));

    let reopened = opened.sealer.reopen(second.clone()).unwrap();
    assert_eq!((&*reopened.payload, reopened.sealer.generation()), (b"two".as_slice(), 2));
    assert_eq!(parent_hash(&second), opened.sealer.chain_value());
    let other_file = seal(&slots, b"one").unwrap();
    assert_eq!(opened.sealer.reopen(other_file).unwrap_err(), OpenError::WrongKey);
}

#[test]
fn two_copies_committed_to_the_same_generation_share_no_keystream() {
    let lineage = open(&small(), &Unlock::Key(&KEY)).unwrap().sealer;
    let [a, b] = [lineage.seal_next(&[0; 4096]).unwrap(), lineage.seal_next(&[0; 4096]).unwrap()];
    let body_of = |bytes: &[u8]| bytes[bytes.len() - 4096..].to_vec();
    assert_ne!(body_of(&a), body_of(&b));
}

#[test]
fn slots_are_added_and_removed_but_never_the_last_and_keep_their_numbers() {
    let mut lineage = Sealer::create(&[NewSlot::Key(&KEY)]).unwrap();
    assert_eq!(lineage.remove_slot(1), Err(SealError::NoSlots));
    assert_eq!(lineage.remove_slot(2), Err(SealError::NoSuchSlot(2)));
    let new = NewSlot::Passphrase { passphrase: b"new", cost: cheap() };
    assert_eq!(lineage.add_slot(&new, "my phone"), Ok(2));
    assert_eq!(lineage.opened_slot(), Some(1));
    lineage.remove_slot(1).unwrap();
    let bytes = lineage.seal_next(b"content").unwrap();
    assert_eq!(open_small(&bytes), Err(OpenError::WrongKey));
    assert_eq!(lineage.opened_slot(), None);
    let mut lineage = open(&bytes, &Unlock::Passphrase(b"new")).unwrap().sealer;
    assert_eq!(lineage.opened_slot(), Some(2));
    let slots: Vec<_> = lineage.slots().collect();
    let (phone, kind) = (&slots[0], SlotKind::Passphrase(cheap()));
    assert_eq!((slots.len(), phone.number, phone.kind, &*phone.label), (1, 2, kind, "my phone"));
    assert!(phone.created > Timestamp::from_millis(1_700_000_000_000));

    // No number is reused, and a slot whose secret is replaced keeps its number.
    assert_eq!(lineage.add_slot(&NewSlot::Key(&KEY), ""), Ok(3));
    lineage.remove_slot(3).unwrap();
    assert_eq!(lineage.add_slot(&NewSlot::Key(&KEY), ""), Ok(4));
    lineage.replace_slot(2, &NewSlot::Key(&[7; 32]), None).unwrap();
    let slots: Vec<_> = lineage.slots().map(|slot| (slot.number, slot.kind, slot.label)).collect();
    let expected = [(2, SlotKind::Key, "my phone".into()), (4, SlotKind::Key, String::new())];
    assert_eq!(slots, expected);

    for n in 2..MAX_SLOTS {
        lineage.add_slot(&NewSlot::Key(&[100 + n as u8; 32]), "").unwrap();
    }
    assert_eq!(lineage.add_slot(&NewSlot::Key(&[0; 32]), ""), Err(SealError::TooManySlots));
    assert!(open_small(&lineage.seal_next(b"full").unwrap()).is_ok());
    assert_eq!(seal(&[], b"").unwrap_err(), SealError::NoSlots);
}

#[test]
fn no_secret_has_two_slots() {
    let recipient = RecipientSecretKey::generate().unwrap().public();
    let passphrase = || NewSlot::Passphrase { passphrase: b"p", cost: cheap() };
    let slots = [passphrase(), NewSlot::Key(&KEY), NewSlot::Recipient(&recipient)];
    let mut lineage = Sealer::create(&slots).unwrap();
    for (slot, number) in slots.iter().zip(1..) {
        assert_eq!(lineage.add_slot(slot, "again"), Err(SealError::SlotExists(number)));
        let other = if number == 1 { 2 } else { 1 };
        assert_eq!(lineage.replace_slot(other, slot, None), Err(SealError::SlotExists(number)));
        // The same secret may be set again in its own slot: at another cost, with a new date.
        lineage.replace_slot(number, slot, Some("anew")).unwrap();
    }
    assert_eq!(lineage.slots().len(), 3);
    assert_eq!(seal(&[NewSlot::Key(&KEY), NewSlot::Key(&KEY)], b"").unwrap_err(), SealError::SlotExists(1));
    let (longest, too_long) = ("l".repeat(100), "l".repeat(101));
    lineage.add_slot(&NewSlot::Key(&[1; 32]), &longest).unwrap();
    assert_eq!(lineage.add_slot(&NewSlot::Key(&[2; 32]), &too_long), Err(SealError::LabelTooLong));
    assert!(open_small(&lineage.seal_next(b"content").unwrap()).is_ok());
}

/// An old file and its secrets yield the old master key, which opens no later generation.
#[test]
fn a_renewed_master_key_opens_what_comes_later_and_an_old_one_does_not() {
    let old = seal(&[NewSlot::Passphrase { passphrase: b"old", cost: cheap() }], b"one").unwrap();
    let mut lineage = open(&old, &Unlock::Passphrase(b"old")).unwrap().sealer;
    let thief = open(&old, &Unlock::Passphrase(b"old")).unwrap().sealer;
    let file_id = lineage.file_id();
    lineage.replace_slot(1, &NewSlot::Passphrase { passphrase: b"new", cost: cheap() }, None).unwrap();
    // Before the renewal, the old copy's key opens the new file, hence the renewal.
    assert_eq!(&*thief.reopen(lineage.seal_next(b"kept").unwrap()).unwrap().payload, b"kept");
    lineage.renew_master(&[]).unwrap();
    let renewed = lineage.seal_next(b"two").unwrap();
    assert_eq!(thief.reopen(renewed.clone()).unwrap_err(), OpenError::WrongKey);
    assert_eq!(open(&renewed, &Unlock::Passphrase(b"old")).unwrap_err(), OpenError::WrongKey);
    let opened = open(&renewed, &Unlock::Passphrase(b"new")).unwrap();
    assert_eq!((&*opened.payload, opened.sealer.file_id()), (b"two".as_slice(), file_id));
}

/// A running process follows a renewal if the slot that it opened is still there.
#[test]
fn a_renewed_master_key_is_found_by_the_slot_that_was_opened() {
    let slots = [NewSlot::Key(&KEY), NewSlot::Key(&[6; 32])];
    let bytes = seal(&slots, b"one").unwrap();
    let (one, two) = (Unlock::Key(&KEY), Unlock::Key(&[6; 32]));
    let mut writer = open(&bytes, &one).unwrap().sealer;
    let (stays, goes) = (open(&bytes, &one).unwrap().sealer, open(&bytes, &two).unwrap().sealer);
    assert_eq!(writer.renew_master(&[]), Err(SealError::SlotNotAtHand(2)), "nobody gave the second key");
    assert!(stays.reopen(writer.seal_next(b"as before").unwrap()).is_ok());
    writer.renew_master(&[Unlock::Key(&[6; 32])]).unwrap();
    for (lineage, payload) in [(&stays, b"two"), (&goes, b"two")] {
        let opened = lineage.reopen(writer.seal_next(payload).unwrap()).unwrap();
        assert_eq!(&*opened.payload, payload);
    }
    writer.remove_slot(2).unwrap();
    writer.renew_master(&[]).unwrap();
    let renewed = writer.seal_next(b"three").unwrap();
    let mut followed = stays.reopen(renewed.clone()).unwrap().sealer;
    assert_eq!(goes.reopen(renewed.clone()).unwrap_err(), OpenError::WrongKey);
    // The sealer that followed works like any other.
    followed.renew_master(&[]).unwrap();
    assert!(writer.reopen(followed.seal_next(b"four").unwrap()).is_ok());
    let mut damaged = renewed;
    let len = u32::from_be_bytes(damaged[12..16].try_into().unwrap()) as usize;
    damaged[len - 1] ^= 1;
    renew_checksum(&mut damaged);
    let error = stays.reopen(damaged).unwrap_err();
    assert_eq!(error, OpenError::Damaged(Damage::HeaderMac));
}

/// A recipient's slot contains its public key, unless it was made for a file that is sealed once.
#[test]
fn recipients_need_not_be_there_when_the_master_key_is_renewed() {
    let (secret, once) = (RecipientSecretKey::generate().unwrap(), RecipientSecretKey::generate().unwrap());
    let (public, once_public) = (secret.public(), once.public());
    let bytes = seal(&[NewSlot::Key(&KEY), NewSlot::Recipient(&public)], b"one").unwrap();
    let mut lineage = open(&bytes, &Unlock::Key(&KEY)).unwrap().sealer;
    lineage.renew_master(&[]).unwrap();
    let renewed = lineage.seal_next(b"two").unwrap();
    for unlock in [Unlock::Key(&KEY), Unlock::Recipient(&secret)] {
        assert_eq!(&*open(&renewed, &unlock).unwrap().payload, b"two");
    }
    lineage.add_slot(&NewSlot::RecipientOnce(&once_public), "").unwrap();
    assert!(open(&lineage.seal_next(b"three").unwrap(), &Unlock::Recipient(&once)).is_ok());
    assert_eq!(lineage.renew_master(&[]), Err(SealError::SlotNotAtHand(3)));
}

#[test]
fn sixteen_recipients_fit_in_one_header() {
    let secrets: Vec<_> = (0..MAX_SLOTS).map(|_| RecipientSecretKey::generate().unwrap()).collect();
    let publics: Vec<_> = secrets.iter().map(RecipientSecretKey::public).collect();
    let mut lineage = Sealer::create(&[NewSlot::Recipient(&publics[0])]).unwrap();
    for public in &publics[1..] {
        lineage.add_slot(&NewSlot::Recipient(public), &"l".repeat(100)).unwrap();
    }
    let bytes = lineage.seal_next(b"content").unwrap();
    assert_eq!(&*open(&bytes, &Unlock::Recipient(&secrets[15])).unwrap().payload, b"content");
}

#[test]
fn sizes_say_little() {
    let size = |len: usize| seal(&[NewSlot::Key(&KEY)], &vec![1; len]).unwrap().len();
    assert_eq!(size(10_001), size(10_200));
    assert!(size(10_000) < 10_000 + 10_000 / 8 + 400);
}

#[test]
fn debug_shows_no_secret() {
    let opened = open(&small(), &Unlock::Key(&KEY)).unwrap();
    let text = format!(
        "{opened:?} {:?} {:?}",
        Unlock::Key(&KEY),
        NewSlot::Passphrase { passphrase: b"secret", cost: cheap() }
    );
    assert!(!text.contains("secret") && !text.contains("nobody") && !text.contains("5, 5, 5"), "{text}");
}

#[test]
fn slots_that_only_together_cost_too_much_are_refused() {
    let slot = || NewSlot::Passphrase { passphrase: b"p", cost: cheap() };
    let other = NewSlot::Passphrase { passphrase: b"q", cost: cheap() };
    let mut bytes = seal(&[slot(), other], b"content").unwrap();
    for slot in 0..2 {
        let cost_at = 131 + slot * 168 + 1 + 32;
        bytes[cost_at..][..4].copy_from_slice(&(1u32 << 20).to_be_bytes());
        bytes[cost_at + 4..][..4].copy_from_slice(&16u32.to_be_bytes());
    }
    renew_checksum(&mut bytes);
    let error = open(&bytes, &Unlock::Passphrase(b"p")).unwrap_err();
    assert_eq!(error, OpenError::Unsupported(Unsupported::TotalCost));
}

proptest::proptest! {
    /// Reachable for a forger: any header with a correct checksum, then anything.
    #[test]
    fn no_forged_file_panics_or_opens(
        mut fields in proptest::collection::vec(proptest::num::u8::ANY, 32..3000),
        count in 0..18u8,
        kind in 0..6u8,
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..100),
    ) {
        if fields.len() > 92 {
            (fields[88], fields[91]) = (count, kind);
        }
        let len = 32 + fields.len();
        let mut bytes = small()[..32].to_vec();
        bytes[12..16].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        bytes.extend(fields);
        bytes.extend(body);
        renew_checksum(&mut bytes);
        proptest::prop_assert!(open_small(&bytes).is_err());
    }
}

/// Writes the checksum that a careful forger would.
fn renew_checksum(bytes: &mut [u8]) {
    use sha2::{Digest, Sha256};
    let len = u32::from_be_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let hash = Sha256::new().chain_update(&bytes[..16]).chain_update(&bytes[32..len]).finalize();
    bytes[16..32].copy_from_slice(&hash[..16]);
}

fn slot_bytes(bytes: &[u8]) -> &[u8] {
    let len = u32::from_be_bytes(bytes[12..16].try_into().unwrap()) as usize;
    &bytes[120..len - 32]
}

fn parent_hash(bytes: &[u8]) -> [u8; 32] {
    bytes[56..88].try_into().unwrap()
}

/// The key of a slot opens the file without its passphrase, in later generations and under a new
/// master key too, until the slot gets another secret or is removed.
#[test]
fn a_slots_key_opens_the_file_until_the_slot_has_another() {
    let recipient = RecipientSecretKey::generate().unwrap();
    let public = recipient.public();
    let passphrase = NewSlot::Passphrase { passphrase: b"first", cost: cheap() };
    let created = Sealer::create(&[NewSlot::Key(&KEY), passphrase, NewSlot::Recipient(&public)]).unwrap();
    let bytes = created.seal_next(b"content").unwrap();
    for (unlock, number) in
        [(Unlock::Key(&KEY), 1), (Unlock::Passphrase(b"first"), 2), (Unlock::Recipient(&recipient), 3)]
    {
        let mut opened = open(&bytes, &unlock).unwrap().sealer;
        let key = *opened.slot_key().unwrap().expose();
        let open_again = |bytes: &[u8]| open(bytes, &Unlock::SlotKey(&key));
        let again = open_again(&bytes).unwrap().sealer;
        assert_eq!((again.opened_slot(), again.slot_key().unwrap().expose()), (Some(number), &key));
        assert!(open_again(&opened.seal_next(b"more").unwrap()).is_ok());
        if number == 2 {
            opened.renew_master(&[Unlock::Key(&KEY)]).unwrap();
            assert!(open_again(&opened.seal_next(b"more").unwrap()).is_ok(), "under a new master key");
        }
        let new = NewSlot::Passphrase { passphrase: b"second", cost: cheap() };
        opened.replace_slot(number, &new, None).unwrap();
        let replaced = opened.seal_next(b"more").unwrap();
        assert_eq!(open_again(&replaced).unwrap_err(), OpenError::WrongKey, "slot {number}");
    }
    let other = Sealer::create(&[NewSlot::Key(&KEY)]).unwrap().seal_next(b"content").unwrap();
    let key = *open(&bytes, &Unlock::Passphrase(b"first")).unwrap().sealer.slot_key().unwrap().expose();
    assert_eq!(open(&other, &Unlock::SlotKey(&key)).unwrap_err(), OpenError::WrongKey, "of another file");
    assert_eq!(open(&bytes, &Unlock::SlotKey(&[0; 32])).unwrap_err(), OpenError::WrongKey);
}
