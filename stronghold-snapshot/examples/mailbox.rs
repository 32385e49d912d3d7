//! Two Strongholds exchange entries through a folder, without a connection. One leaves a request
//! there, the other its answer. The folder's content shows a third party only that there is
//! something, for whom, and its approximate size.
//!
//! `cargo run -p stronghold-snapshot --example mailbox`

use std::error::Error;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use stronghold_snapshot::{
    ComplementError, ComplementReceiver, Manifest, RecipientPublicKey, RecipientSecretKey, seal_complement,
};
use stronghold_sync::{
    Decision, DeviceId, EntryId, Location, Mapping, Operation, Rule, Selection, Shape, Timestamp,
};
use stronghold_vault::{Identity, Labels, PublicIdentity, RejectReason, Stronghold};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn main() -> Result<()> {
    let mailbox = tempfile::tempdir()?;
    let mail: Location = "wallet/web/mail".parse()?;
    let (mut phone, mut laptop) = (Stronghold::new("phone")?, Stronghold::new("laptop")?);
    laptop.write(&mail, b"hunter2", Labels::new(), NOW)?;
    laptop.write(&"work/web/mail".parse()?, b"not for the phone", Labels::new(), NOW)?;
    let device = phone.identity().device();
    let operations = [Operation::Pull].into();
    let selection: Selection = "wallet".parse()?;
    laptop.policy_mut().grant(Rule { device, operations, selection, expires: None, ask: false });

    let mut awaited = ask(mailbox.path(), &phone, laptop.identity().public())?;
    answer(mailbox.path(), &laptop, phone.identity().public())?;
    take(mailbox.path(), &mut phone, laptop.identity().device(), &mut awaited)?;
    assert_eq!(&**phone.read(&mail)?.revision.value, b"hunter2");
    assert_eq!(phone.readable(), 1, "what the policy does not allow stays where it is");

    // Replays the same answer, whose content may be outdated by now.
    let again = awaited.open(fs::read(mailbox.path().join("answer"))?);
    assert_eq!(again, Err(ComplementError::NotThisRequest));
    Ok(())
}

/// The phone makes a key for this request only, and signs it: otherwise anyone with write access to
/// the folder could have the answer sealed to a key of their own.
fn ask(mailbox: &Path, phone: &Stronghold, laptop: &PublicIdentity) -> Result<ComplementReceiver> {
    let secret = RecipientSecretKey::generate()?;
    let key = secret.public().to_bytes();
    let request = request_of(&key);
    let signature = phone.identity().sign(&request);
    fs::write(mailbox.join("request"), [&key[..], &signature].concat())?;
    Ok(ComplementReceiver::new(secret, laptop.clone(), phone.identity().device(), request))
}

/// The laptop reads the folder, checks the sender and its own policy, and leaves the answer.
fn answer(mailbox: &Path, laptop: &Stronghold, phone: &PublicIdentity) -> Result<()> {
    let asked = fs::read(mailbox.join("request"))?;
    let (key, signature) = asked.split_at_checked(RecipientPublicKey::LEN).ok_or("a request that is cut")?;
    let request = request_of(key);
    phone.verify(&request, signature)?;
    let selection: Selection = "wallet".parse()?;
    let Decision::Allowed(grant) = laptop.policy().decide(&phone.device(), Operation::Pull, &selection, NOW)
    else {
        return Err("the policy does not allow it".into());
    };
    let shapes = laptop.shapes(grant.scope(), &Mapping::default());
    let wanted: Vec<EntryId> = shapes.iter().map(Shape::entry).collect();
    let entries = laptop.export(&grant, &wanted, NOW)?;
    let sender: &Identity = laptop.identity();
    let manifest = Manifest { sender: sender.device(), receiver: phone.device(), request, index: 0 };
    let sealed = seal_complement(&entries, &RecipientPublicKey::from_bytes(key)?, sender, &manifest)?;
    Ok(fs::write(mailbox.join("answer"), sealed)?)
}

/// The phone opens the answer, whenever it arrives, and takes the entries that it requested.
fn take(
    mailbox: &Path,
    phone: &mut Stronghold,
    laptop: DeviceId,
    awaited: &mut ComplementReceiver,
) -> Result<()> {
    let entries = awaited.open(fs::read(mailbox.join("answer"))?)?;
    let asked: Selection = "wallet".parse()?;
    phone.import(&entries, laptop, NOW, |location, _, _| match asked.covers(location) {
        true => Ok(()),
        false => Err(RejectReason::Unrequested),
    })?;
    Ok(())
}

/// Returns a hash of the one-time key, unique to the request.
fn request_of(key: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(b"stronghold/example/mailbox").chain_update(key).finalize().into()
}
