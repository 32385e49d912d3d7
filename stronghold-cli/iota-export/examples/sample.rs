//! Writes snapshots by the engine of IOTA Stronghold, for the tests: `sample FOLDER` makes `v3`,
//! `v2` (the same contents in the older version), `passphrase` and `paths` there.

use std::{fs, path::Path, time::Duration};

use crypto::{
    ciphers::{chacha::XChaCha20Poly1305, traits::Aead},
    hashes::{Digest, blake2b::Blake2b256},
    keys::x25519,
};
use iota_stronghold::{
    Client, KeyProvider, Location, SnapshotPath, Stronghold,
    engine::snapshot,
    procedures::{GenerateKey, KeyType},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Passphrase of the snapshots.
pub const PASSPHRASE: &str = "correct horse";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("say where: sample FOLDER")?;
    write(Path::new(&folder))
}

/// Writes all files into a folder.
pub fn write(folder: &Path) -> Result<()> {
    // The engine's default takes seconds in a build that is not optimised.
    snapshot::try_set_encrypt_work_factor(1)?;
    let stronghold = Stronghold::default();
    fill(&stronghold.create_client("wallet")?)?;
    let second = stronghold.create_client([0xff, 0x00])?;
    second
        .vault("tokens")
        .write_secret(Location::generic("tokens", "unknown path"), b"of the second".to_vec().into())?;
    let key = KeyProvider::with_passphrase_hashed_blake2b(PASSPHRASE.as_bytes().to_vec())?;
    let v3 = folder.join("v3");
    for client in ["wallet".as_bytes(), &[0xff, 0x00]] {
        stronghold.write_client(client)?;
    }
    stronghold.commit_with_keyprovider(&SnapshotPath::from_path(&v3), &key)?;
    let key: [u8; 32] = Blake2b256::digest(PASSPHRASE).into();
    write_v2(&snapshot::decrypt_file(&v3, &key)?, &folder.join("v2"), &key)?;
    fs::write(folder.join("passphrase"), format!("{PASSPHRASE}\n"))?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(folder.join("key"), digits)?;
    fs::write(folder.join("paths"), "wallet\ntokens\nmail/password\nkeys\nsigning\nnever used\nhex:ff00\n")?;
    Ok(())
}

/// Writes records, counters, a generated key, a revoked record and entries of the store.
fn fill(client: &Client) -> Result<()> {
    let vault = client.vault("tokens");
    vault.write_secret(Location::generic("tokens", "mail/password"), b"hunter2".to_vec().into())?;
    vault.write_secret(Location::generic("tokens", [0xff, 0x00]), vec![0, 0xff, b'\n'].into())?;
    vault.write_secret(Location::counter("tokens", 0usize), b"the first".to_vec().into())?;
    vault.write_secret(Location::counter("tokens", 7usize), b"the eighth".to_vec().into())?;
    vault.write_secret(Location::generic("tokens", "gone"), b"revoked".to_vec().into())?;
    vault.revoke_secret("gone")?;
    client.execute_procedure(GenerateKey {
        ty: KeyType::Ed25519,
        output: Location::generic("keys", "signing"),
    })?;
    client
        .vault("secret vault")
        .write_secret(Location::generic("secret vault", "x"), b"unnamed".to_vec().into())?;
    let store = client.store();
    store.insert(b"user".to_vec(), b"anna".to_vec(), None)?;
    store.insert(b"short".to_vec(), b"lived".to_vec(), Some(Duration::from_millis(1)))?;
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}

/// Writes a snapshot of version 2, which the engine reads and does not write any more.
fn write_v2(plain: &[u8], path: &Path, key: &[u8; 32]) -> Result<()> {
    let plain = snapshot::compress(plain);
    let ephemeral = x25519::SecretKey::generate()?;
    let public = x25519::SecretKey::from_bytes(*key).public_key();
    let shared = ephemeral.diffie_hellman(&public);
    let both = [ephemeral.public_key().to_bytes(), public.to_bytes()].concat();
    let nonce = &Blake2b256::digest(both)[..XChaCha20Poly1305::NONCE_LENGTH];
    let (mut tag, mut sealed) = ([0; XChaCha20Poly1305::TAG_LENGTH], vec![0; plain.len()]);
    XChaCha20Poly1305::try_encrypt(shared.as_bytes(), nonce, &[], &plain, &mut sealed, &mut tag)?;
    let parts: [&[u8]; 5] = [b"PARTI", &[2, 0], &ephemeral.public_key().to_bytes(), &tag, &sealed];
    fs::write(path, parts.concat())?;
    Ok(())
}
