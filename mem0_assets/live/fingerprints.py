"""Secrets as fingerprints: whether two passwords are one can be seen, and neither of them.

HMAC with a key of 32 random bytes: a short password is guessed from a plain hash within seconds. The key lies in the
deployment's folder of backups (0600) and in none of the backups, so that whoever holds a backup cannot guess either.
"""

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from functools import partial
from pathlib import Path

from mem0_assets.live.settings import Fingerprint

KEY_FILE = ".fingerprint_key"
KEY_BYTES = 32
_SHAPE = re.compile(r"#(?P<key>[0-9a-f]{4})-[0-9a-f]{12}")


def fingerprint_in(folder: Path) -> Fingerprint:
    """The function that makes this folder's fingerprints, like `#1f3a-0c9d8e7f6a5b`. Makes the key where there is none.

    Raises OSError. A key that was lost is made anew; the fingerprints of two keys say nothing of one another.
    """
    key = _key(folder / KEY_FILE)
    return partial(_fingerprint, key, hashlib.sha256(key).hexdigest()[:4])


def comparable(one: str, other: str) -> bool:
    """Whether two values can be told apart: both made with the same key, or no fingerprints at all."""
    first, second = _SHAPE.fullmatch(one), _SHAPE.fullmatch(other)
    return not (first and second) or first["key"] == second["key"]


def _fingerprint(key: bytes, name: str, secret: str) -> str:
    digest = hmac.new(key, os.fsencode(secret), hashlib.sha256).hexdigest()
    return f"#{name}-{digest[:12]}"


def _key(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        if len(key := path.read_bytes()) == KEY_BYTES:
            return key
    made = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        _put(made, path)
    finally:
        made.unlink(missing_ok=True)
    return path.read_bytes()


def _put(made: Path, path: Path) -> None:
    """Whoever comes first wins: two processes must not go on with two keys. A torn key is replaced."""
    try:
        os.link(made, path)
    except FileExistsError:
        if path.stat().st_size != KEY_BYTES:
            made.replace(path)
