"""Encryption at rest: AES-256-GCM under a key of each workspace, itself wrapped by the installation's key.

What is sealed is bound to its workspace and to a context (table and identity of the row), so a value moved
to another row or workspace does not open. A sealed value is one byte of format, 12 of nonce, then ciphertext
and tag. Dropping a workspace's wrapped key makes all it sealed unreadable for good.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connector_runner.infra.database import Tx, execute, one
from connector_runner.infra.secrets import resolve
from connector_runner.kernel.errors import BadRecord, Misconfigured
from connector_runner.settings import Settings

KEY_SETTING: Final = "CONNECTOR_RUNNER_ENCRYPTION_KEY"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORMAT: Final = b"\x01"
_FINGERPRINT_NAME: Final = "key_fingerprint"


def decode_key(text: str, where: str) -> bytes:
    """The 32 bytes of a base64 key. Raises Misconfigured naming ``where`` it came from."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise Misconfigured("the key must be base64 of 32 bytes", code="encryption_key", where=where)
    return key


def installation_key(settings: Settings) -> bytes:
    """The key that wraps the keys of workspaces: as set, else the one kept in ``home/key``, made on first use.

    Raises Misconfigured when what is set is no key.
    """
    given = settings.encryption_key
    if given is None or not given.strip():
        return _kept_key(settings.home)
    if given.startswith(("env:", "file:")):
        return decode_key(resolve(given), given)
    return decode_key(given, KEY_SETTING)


def _kept_key(home: Path) -> bytes:
    """Read or make ``home/key``. Whoever links its name first wins, and nobody reads half a key."""
    path = home / "key"
    if not path.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=home, prefix=".key-")  # mode 0600, exclusive
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileExistsError):  # another process made one meanwhile: that one counts
                os.link(temporary, path)
        finally:
            os.unlink(temporary)
    try:
        return decode_key(path.read_text("ascii"), str(path))
    except (OSError, UnicodeDecodeError):
        raise Misconfigured("the key file cannot be read", code="encryption_key", where=str(path)) from None


class Sealer:
    """Seals and opens under the keys of workspaces. Share one between threads; survives a fork."""

    def __init__(self, key: bytes) -> None:
        """``key``: the installation's 32 bytes."""
        if len(key) != _KEY_BYTES:
            raise Misconfigured("the key must be 32 bytes", code="encryption_key", where=KEY_SETTING)
        self._wrapping = AESGCM(key)
        self._digest_key = hmac.new(key, b"connector_runner keyed digests", "sha256").digest()
        self.fingerprint = hmac.new(key, b"connector_runner installation key", "sha256").hexdigest()[:32]
        self._keys: dict[str, AESGCM] = {}
        # Keys made in a transaction that may yet be rolled back are never kept past it.
        self._made_in: WeakKeyDictionary[Tx, set[str]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def check_installation(self, tx: Tx) -> None:
        """Tie the database to this key the first time; later raise Misconfigured when it is tied to another."""
        execute(
            tx,
            "INSERT INTO installation (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING",
            name=_FINGERPRINT_NAME,
            value=self.fingerprint,
        )
        row = one(tx, "SELECT value FROM installation WHERE name = :name", name=_FINGERPRINT_NAME)
        if row is None or not hmac.compare_digest(row["value"], self.fingerprint):
            raise Misconfigured(
                "the database was set up with another encryption key; set the same key for every process of"
                " this installation (without it, each machine makes one of its own under the home folder)",
                code="encryption_key_differs",
                where=KEY_SETTING,
            )

    def ensure(self, tx: Tx, workspace_id: str) -> None:
        """Make the workspace's key if it has none; called when a workspace is created."""
        self._key(tx, workspace_id)

    def seal(self, tx: Tx, workspace_id: str, plaintext: bytes, context: str) -> bytes:
        """Encrypt for one workspace and one place. ``context`` names the table and the row for good.

        Raises Misconfigured when the workspace's key cannot be unwrapped, or there is no such workspace.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + nonce + self._key(tx, workspace_id).encrypt(nonce, plaintext, _bound(workspace_id, context))

    def open(self, tx: Tx, workspace_id: str, sealed: bytes, context: str) -> bytes:
        """Decrypt what was sealed for this workspace and context; BadRecord (``sealed_broken``) for anything else."""
        sealed = bytes(sealed)
        if sealed[:1] != _FORMAT:
            raise BadRecord("a sealed value has an unknown format", code="sealed_broken")
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._key(tx, workspace_id).decrypt(nonce, rest, _bound(workspace_id, context))
        except (InvalidTag, ValueError):
            raise BadRecord("a sealed value was altered or moved", code="sealed_broken") from None

    def keyed_digest(self, workspace_id: str, context: str, text: str) -> bytes:
        """16 bytes that stand for ``text`` in one workspace and place: equal texts are found, none is told.

        Without the installation's key nobody can try out guesses.
        """
        return hmac.new(self._digest_key, _bound(workspace_id, f"{context}|{text}"), "sha256").digest()[:16]

    def _key(self, tx: Tx, workspace_id: str) -> AESGCM:
        key = self._keys.get(workspace_id)
        if key is not None:
            return key
        wrapped = _wrapped_key(tx, workspace_id)
        if wrapped is None:
            self._make(tx, workspace_id)
            wrapped = _wrapped_key(tx, workspace_id)
        if wrapped is None:
            raise Misconfigured("no such workspace", code="workspace_missing", where=workspace_id)
        key = AESGCM(self._unwrap(workspace_id, wrapped))
        with self._lock:
            if workspace_id not in self._made_in.get(tx, ()):
                self._keys[workspace_id] = key
        return key

    def _make(self, tx: Tx, workspace_id: str) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = _FORMAT + nonce + self._wrapping.encrypt(nonce, os.urandom(_KEY_BYTES), _wrap_bound(workspace_id))
        made = execute(
            tx,
            "UPDATE workspace SET data_key = :wrapped WHERE workspace_id = :ws AND data_key IS NULL",
            wrapped=wrapped,
            ws=workspace_id,
        )
        if made:
            with self._lock:
                self._made_in.setdefault(tx, set()).add(workspace_id)

    def _unwrap(self, workspace_id: str, wrapped: bytes) -> bytes:
        nonce, rest = wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        try:
            return self._wrapping.decrypt(nonce, rest, _wrap_bound(workspace_id))
        except (InvalidTag, ValueError):
            raise Misconfigured(
                "the workspace's data key does not open with this encryption key",
                code="encryption_key_differs",
                where=KEY_SETTING,
            ) from None


def _wrapped_key(tx: Tx, workspace_id: str) -> bytes | None:
    row = one(tx, "SELECT data_key FROM workspace WHERE workspace_id = :ws", ws=workspace_id)
    return bytes(row["data_key"]) if row is not None and row["data_key"] is not None else None


def _bound(workspace_id: str, context: str) -> bytes:
    return f"{workspace_id}|{context}".encode()


def _wrap_bound(workspace_id: str) -> bytes:
    return f"{workspace_id}|data_key".encode()
