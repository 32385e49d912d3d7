//! Checks the code against `testdata/vectors.txt` and `testdata/session.txt`, which let a second
//! implementation check what PROTOCOL.md derives, signs and encodes, under fixed keys.
//!
//! After a change of the protocol, `BLESS=1 cargo test -p stronghold-net --lib vectors` rewrites
//! the files.

mod session;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use hkdf::Hkdf;
use rustls::KeyLog;
use sha2::{Digest, Sha384};
use stronghold_snapshot::RecipientSecretKey;
use stronghold_sync::{
    DeviceId, Edition, Timestamp, hex,
    mailbox::{Order, Point},
};
use stronghold_vault::{Identity, Rendezvous};
use tokio::io::duplex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    Invitation, PairingCode, Trust,
    channel::{
        BINDING_LABEL,
        ephemeral::{IdentityProof, ephemeral_identity},
        frame::{self, Role},
        tls::{self, Verifier},
    },
    mailbox::{self, Card, NAME_LEN, ObjectKind, ObjectName, PairKeys},
    pairing,
    rendezvous::{
        discovery,
        preauth::token,
        tags::{self, ANY_DEVICE, Nonce, TagContext, tag, truncate},
    },
    session::binding::{request_of, secret_of, stamp_of},
};

const HEAD: &str = "\
# Vectors of the protocol, version 1: a name and a value, one a line; a value is bytes in hexadecimal, if it is not a code. What
# stands under a name that begins with `given/` is chosen; the rest follows from it, as stronghold-net/PROTOCOL.md says, sections 1,
# 2 and 9. The initiator is the joiner too, and is called `phone`; the responder is the listener, is called `laptop`, and is the device
# that is knocked at and announced. Messages are without their frames.
";

pub(super) const BINDING: [u8; 32] = [7; 32];
const EXPORTER_SECRET: [u8; 48] = [3; 48];
const RENDEZVOUS: [u8; 32] = [5; 32];
const NONCE: Nonce = [9; 16];
const CODE: &str = "0123-4567-89AB-CDEF-W";

/// Returns the two devices, the initiator first.
pub(super) fn devices() -> [Identity; 2] {
    [[1; 32], [2; 32]].map(|secret| Identity::from_bytes(&secret).unwrap())
}

fn rendezvous() -> Rendezvous {
    Rendezvous::from_bytes(RENDEZVOUS)
}

/// Derives the binding from a connection's exporter secret (RFC 8446, 7.5), to be compared with the
/// export of rustls.
fn exported(secret: &[u8]) -> [u8; 32] {
    let expand = |from: &[u8], label: &[u8], context: &[u8], out: &mut [u8]| {
        let length = u16::try_from(out.len()).unwrap().to_be_bytes();
        let lengths = [label.len() + 6, context.len()].map(|length| [u8::try_from(length).unwrap()]);
        let info = [&length, &lengths[0][..], b"tls13 ", label, &lengths[1], context].concat();
        Hkdf::<Sha384>::from_prk(from).unwrap().expand(&info, out).unwrap();
    };
    let nothing = Sha384::digest([]);
    let (mut derived, mut out) = ([0; 48], [0; 32]);
    expand(secret, BINDING_LABEL, &nothing, &mut derived);
    expand(&derived, b"exporter", &nothing, &mut out);
    out
}

fn given() -> Vec<(&'static str, Vec<u8>)> {
    let [initiator, responder] = devices();
    vec![
        ("given/exporter-secret", EXPORTER_SECRET.to_vec()),
        ("given/binding", BINDING.to_vec()),
        ("given/rendezvous-secret", RENDEZVOUS.to_vec()),
        ("given/nonce", NONCE.to_vec()),
        ("given/initiator-secret-key", initiator.to_bytes().to_vec()),
        ("given/responder-secret-key", responder.to_bytes().to_vec()),
    ]
}

fn of_a_channel() -> Vec<(&'static str, Vec<u8>)> {
    let [initiator, responder] = devices();
    let cover = |role| ephemeral_identity(role, &rendezvous(), &NONCE, &responder.device()).unwrap();
    let covers = [Role::Connected, Role::Accepted].map(cover);
    let cards = [(Role::Connected, &initiator), (Role::Accepted, &responder)]
        .map(|(role, identity)| IdentityProof::new(role, &BINDING, identity));
    let card = |card: &IdentityProof| rmp_serde::to_vec(card).unwrap();
    let mut framed = Vec::new();
    frame::encode(&mut framed, Role::Accepted, 0, &cards[1]).unwrap();
    vec![
        ("exporter/binding", exported(&EXPORTER_SECRET).to_vec()),
        ("device/initiator-public-key", initiator.public().spki().to_vec()),
        ("device/initiator-id", initiator.device().as_bytes().to_vec()),
        ("device/responder-public-key", responder.public().spki().to_vec()),
        ("device/responder-id", responder.device().as_bytes().to_vec()),
        ("rendezvous/of-the-binding", tags::of_pairing(&BINDING).as_bytes().to_vec()),
        ("knock", token(&NONCE, &rendezvous(), &responder.device()).to_vec()),
        ("cover/initiator-secret-key", covers[0].to_bytes().to_vec()),
        ("cover/initiator-public-key", covers[0].public().spki().to_vec()),
        ("cover/responder-secret-key", covers[1].to_bytes().to_vec()),
        ("cover/responder-public-key", covers[1].public().spki().to_vec()),
        ("card/initiator", card(&cards[0])),
        ("card/responder", card(&cards[1])),
        ("card/responder-in-its-frame", framed),
        ("session/request", request_of(&BINDING).to_vec()),
        ("session/secret", secret_of(&BINDING).to_vec()),
        ("session/stamp", stamp_of(&BINDING).as_bytes().to_vec()),
    ]
}

fn of_a_pairing(code: &PairingCode) -> Vec<(&'static str, Vec<u8>)> {
    let [initiator, responder] = devices();
    let mut vectors = vec![
        ("code/bytes", code.as_bytes().to_vec()),
        ("code/rendezvous-secret", tags::of_code(code).as_bytes().to_vec()),
    ];
    vectors.extend(pairing::vectors(&BINDING, code, &initiator, &responder));
    vectors
}

/// Returns the vectors of two announcements: the responder's to the initiator and seven more
/// devices, whose secrets are 32 bytes 11 to 17, and that of a code.
fn of_an_announcement(code: &PairingCode) -> Vec<(&'static str, Vec<u8>)> {
    let device = devices()[1].device();
    let tag = |secret: &Rendezvous, device: &DeviceId| -> [u8; 8] {
        truncate(tag(secret, TagContext::Announcement, &NONCE, device))
    };
    let others = (0x11..0x18).map(|byte| Rendezvous::from_bytes([byte; 32]));
    let secrets: Vec<_> = [rendezvous()].into_iter().chain(others).map(|secret| (device, secret)).collect();
    let strings = discovery::strings(&secrets, &NONCE).unwrap();
    let [(key, text)] = &strings[..] else { panic!("{strings:?}") };
    assert_eq!(key, "0");
    vec![
        ("tag/of-the-code", tag(&tags::of_code(code), &ANY_DEVICE).to_vec()),
        ("tag/of-the-responder", tag(&rendezvous(), &device).to_vec()),
        (
            "tag/of-eight-in-order",
            (0..8).flat_map(|at| hex::read::<8>(&text[16 * at..][..16]).unwrap()).collect(),
        ),
    ]
}

/// Returns the vectors of a mailbox: its folder, and the name of the initiator's letter 7 with an id of
/// 8 bytes 4, and a card of the same number and id, under the first 12 bytes of the nonce. The
/// card's key is that of 32 bytes 6.
fn of_a_mailbox() -> Vec<(&'static str, Vec<u8>)> {
    let [initiator, responder] = devices().map(|identity| identity.device());
    let keys = PairKeys::new(&rendezvous(), &initiator, &responder);
    let point = Point { number: 7, id: [4; 8] };
    let name = ObjectName { writer: keys.own(), kind: ObjectKind::Letter, point };
    let text = keys.seal_with(&name, NONCE.first_chunk().unwrap()).unwrap();
    assert_eq!(keys.open_name(&text), Some(name));
    let edition = |generation| Edition { generation, stamp: None };
    let order = Order { point, after: vec![Point::default()], sealed: edition(2), seen: edition(1) };
    let head = mailbox::Letter::head(&order).unwrap();
    let card_name = ObjectName { kind: ObjectKind::Card, ..name };
    let card_name = keys.seal_with(&card_name, NONCE.first_chunk().unwrap()).unwrap();
    let card = Card {
        taken: point,
        damaged: Point::default(),
        seen: Edition { generation: 3, stamp: Some(stamp_of(&BINDING)) },
        time: Timestamp::from_millis(1),
        key: RecipientSecretKey::from_bytes(&[6; 32]).unwrap().public(),
    };
    let object = card.seal_with(&keys, &card_name, &devices()[0], NONCE.first_chunk().unwrap()).unwrap();
    assert_eq!(Card::open(&object, &keys, &card_name, devices()[0].public()).as_ref(), Ok(&card));
    vec![
        ("mailbox/folder", hex::read::<16>(&keys.folder()).unwrap().to_vec()),
        ("mailbox/name", hex::read::<{ NAME_LEN / 2 }>(&text).unwrap().to_vec()),
        ("mailbox/letter-order", head.clone()),
        ("mailbox/letter-request", mailbox::request_of(&text, &head).to_vec()),
        ("mailbox/card-name", hex::read::<{ NAME_LEN / 2 }>(&card_name).unwrap().to_vec()),
        ("mailbox/card", object),
        ("mailbox/card-key-id", card.standing().key.to_vec()),
    ]
}

/// Compares a file with its expected content; writes it where that is requested.
pub(super) fn compare_or_bless(name: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(held, expected, "what {name} has has changed: is that another version of the protocol?");
}

#[test]
fn the_file_has_what_follows_from_what_is_given() {
    let code: PairingCode = CODE.parse().unwrap();
    let addresses = vec!["192.0.2.7:4433".parse().unwrap(), "[2001:db8::7]:4433".parse().unwrap()];
    let mut lines = given();
    let link = Invitation { code: code.copy(), addresses }.link().to_string();
    lines.extend([of_a_channel(), of_a_pairing(&code), of_an_announcement(&code), of_a_mailbox()].concat());
    let lines = lines.iter().map(|(name, bytes)| format!("{name} {}\n", hex::text(bytes)));
    let codes = [("code/text", code.reveal().to_string()), ("code/link", link)];
    let codes = codes.map(|(name, text)| format!("{name} {text}\n"));
    compare_or_bless(
        "vectors.txt",
        &[HEAD.to_owned()].into_iter().chain(lines).chain(codes).collect::<String>(),
    );
}

/// A key log that keeps a connection's exporter secret.
#[derive(Debug, Default)]
struct SecretLog(Mutex<Vec<u8>>);

impl KeyLog for SecretLog {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "EXPORTER_SECRET" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

/// The exporter's vector is right: a real connection derives its export from its secret in the same
/// way.
#[tokio::test]
async fn a_binding_is_what_a_connection_exports() {
    let [initiator, responder] = devices();
    let overhearing = Arc::new(SecretLog::default());
    let mut client = tls::client_config(&initiator, Verifier::new(Trust::Anyone)).unwrap();
    client.key_log = overhearing.clone();
    let server = tls::server_config(&responder, Verifier::new(Trust::Anyone)).unwrap();
    let (near, far) = duplex(1 << 16);
    let (stream, accepted) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect(tls::no_name(), near),
        TlsAcceptor::from(Arc::new(server)).accept(far),
    );
    let (stream, _accepted) = (stream.unwrap(), accepted.unwrap());
    let binding = stream.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, None).unwrap();
    assert_eq!(binding, exported(&overhearing.0.lock().unwrap()));
}
