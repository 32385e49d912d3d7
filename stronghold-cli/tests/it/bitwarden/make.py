"""Makes password-protected exports as Bitwarden does, with Python's `cryptography` alone."""

import base64
import hashlib
import json
import pathlib
import secrets
import uuid

from cryptography.hazmat.primitives import hashes, hmac, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

PASSPHRASE = "correct hörse".encode()
PLAIN = {
    "encrypted": False,
    "folders": [{"id": "f", "name": "Web"}],
    "items": [
        {
            "type": 1,
            "name": "Shop",
            "folderId": "f",
            "notes": "two\nlines",
            "login": {"username": "anna", "password": "new pässword", "totp": "JBSWY3DP", "uris": [{"uri": "https://shop.example"}]},
            "fields": [{"name": "PIN", "value": "1234", "type": 1}],
            "passwordHistory": [{"lastUsedDate": "2024-02-01T00:00:00Z", "password": "old"}],
        }
    ],
}


def b64(data):
    return base64.b64encode(data).decode()


def sealed(text, enc, mac):
    iv = secrets.token_bytes(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(enc), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    tag = hmac.HMAC(mac, hashes.SHA256())
    tag.update(iv + ciphertext)
    return "2." + "|".join(map(b64, (iv, ciphertext, tag.finalize())))


def export(name, kdf):
    salt = b64(secrets.token_bytes(16))
    if kdf["kdfType"] == 0:
        key = PBKDF2HMAC(hashes.SHA256(), 32, salt.encode(), kdf["kdfIterations"]).derive(PASSPHRASE)
    else:
        memory, lanes = kdf["kdfMemory"] * 1024, kdf["kdfParallelism"]
        hashed = hashlib.sha256(salt.encode()).digest()
        key = Argon2id(salt=hashed, length=32, iterations=kdf["kdfIterations"], lanes=lanes, memory_cost=memory).derive(PASSPHRASE)
    enc, mac = (HKDFExpand(hashes.SHA256(), 32, info).derive(key) for info in (b"enc", b"mac"))
    whole = {
        "encrypted": True,
        "passwordProtected": True,
        "salt": salt,
        **kdf,
        "encKeyValidation_DO_NOT_EDIT": sealed(str(uuid.uuid4()), enc, mac),
        "data": sealed(json.dumps(PLAIN, indent=2), enc, mac),
    }
    path = pathlib.Path(__file__).with_name(name)
    path.write_text(json.dumps(whole, indent=2) + "\n")


export("pbkdf2.json", {"kdfType": 0, "kdfIterations": 5000, "kdfMemory": None, "kdfParallelism": None})
export("argon2id.json", {"kdfType": 1, "kdfIterations": 2, "kdfMemory": 16, "kdfParallelism": 2})
