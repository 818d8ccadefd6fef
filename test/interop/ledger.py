"""Checks an exported log from the specifications alone: RFC 9162, C2SP signed-note, tlog-checkpoint and tlog-tiles.

usage: ledger.py DIRECTORY FEDERATION     prints the number of entries, and the root hash in base64

Hashing is the standard library's; the signatures are checked with the package `cryptography`.
"""

import base64
import hashlib
import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key


def sha256(data):
    return hashlib.sha256(data).digest()


def tree_hash(leaves):
    """RFC 9162, 2.1.1, over leaf hashes."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:]))


def tile(root, level, index, count):
    """C2SP tlog-tiles: the bytes of a tile of a level with `count` hashes or entries."""
    digits = f"{index:03}".zfill((len(str(index)) + 2) // 3 * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    if (index + 1) * 256 > count:
        path += f".p/{count % 256}"
    return (root / "tile" / str(level) / path).read_bytes()


def entries(root, size):
    for index in range((size + 255) // 256):
        bundle = tile(root, "entries", index, size)
        while bundle:
            length = int.from_bytes(bundle[:2], "big")
            assert len(bundle) >= 2 + length, "a bundle is cut"
            yield bundle[2 : 2 + length]
            bundle = bundle[2 + length :]


def verify_document(key, domain, signed):
    """DSSE's pre-authentication encoding."""
    record = signed["record"].encode()
    message = f"DSSEv1 {len(domain)} {domain} {len(record)} ".encode() + record
    key.verify(base64.b64decode(signed["signature"]["value"]), message)
    return json.loads(record)


def log_key(root, federation):
    file = json.loads((root / "log.json").read_text())
    certificate = json.loads(file["federation"]["record"])["caCertificate"]
    authority = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    spki = authority.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert "sha256:" + hashlib.sha256(spki).hexdigest() == federation, "another federation"
    verify_document(authority, "tapestry/federation/v1", file["federation"])
    record = verify_document(authority, "tapestry/log/v1", file["log"])
    assert record["federation"] == federation, "the log of another federation"
    return record["origin"], load_pem_public_key(record["publicKey"].encode())


def checkpoint(root, origin, key):
    text, signatures = (root / "checkpoint").read_text().split("\n\n")
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_hash = sha256(origin.encode() + b"\n\x01" + raw)[:4]
    [line] = [each for each in signatures.splitlines() if each.startswith(f"\u2014 {origin} ")]
    signature = base64.b64decode(line.split(" ")[2])
    assert signature[:4] == key_hash, "the key hash"
    key.verify(signature[4:], f"{text}\n".encode())
    first, size, root_hash = text.split("\n")
    assert first == origin, "another origin"
    return int(size), base64.b64decode(root_hash)


def main(directory, federation):
    root = pathlib.Path(directory)
    size, root_hash = checkpoint(root, *log_key(root, federation))
    hashes = [sha256(b"\x00" + entry) for entry in entries(root, size)]
    assert len(hashes) == size, "another number of entries"
    assert tree_hash(hashes) == root_hash, "the root is not that of the entries"
    level = 0
    while hashes:
        for index in range((len(hashes) + 255) // 256):
            expected = b"".join(hashes[index * 256 : (index + 1) * 256])
            assert tile(root, level, index, len(hashes)) == expected, f"tile {level}/{index}"
        hashes = [tree_hash(hashes[at : at + 256]) for at in range(0, len(hashes) // 256 * 256, 256)]
        level += 1
    print(size, base64.b64encode(root_hash).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
