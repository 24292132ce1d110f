"""Client certificates: checked, and put where the TLS library reads them, which is files only."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured

_lock = threading.Lock()
_folder: tuple[int, Path] | None = None


def certificate_files(certificate: str, private_key: str) -> tuple[str, str]:
    """Files of a PEM certificate (its chain may follow) and its PEM key, in a folder that ends with the process.

    Raises Misconfigured (``client_certificate``) when they are unusable, no pair, or out of their time.
    """
    _check(certificate, private_key)
    name = hashlib.blake2b(f"{certificate}\0{private_key}".encode(), digest_size=16).hexdigest()
    with _lock:
        folder = _own_folder()
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        for path, content in zip(paths, (certificate, private_key), strict=True):
            if not path.exists():
                _write(path, content)
    return str(paths[0]), str(paths[1])


def _check(certificate: str, private_key: str) -> None:
    try:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
        key = serialization.load_pem_private_key(private_key.encode(), None)
    except (ValueError, TypeError):
        raise _unusable("the client certificate and its key must be PEM, the key without a password") from None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != parsed.public_key().public_bytes(*form):
        raise _unusable("the private key is not that of the client certificate")
    now = utc_now()
    if now > parsed.not_valid_after_utc:
        raise _unusable(f"the client certificate ended on {parsed.not_valid_after_utc:%Y-%m-%d}; put a new one there")
    if now < parsed.not_valid_before_utc:
        raise _unusable(f"the client certificate holds from {parsed.not_valid_before_utc:%Y-%m-%d} only")


def _unusable(message: str) -> Misconfigured:
    return Misconfigured(message, code="client_certificate", where="auth.certificate")


def _own_folder() -> Path:
    """This process's folder; a forked child makes one of its own."""
    global _folder
    if _folder is None or _folder[0] != os.getpid():
        made = Path(tempfile.mkdtemp(prefix="connector_runner-tls-"))  # mode 0700
        atexit.register(_remove, os.getpid(), made)
        _folder = (os.getpid(), made)
    return _folder[1]


def _remove(owner: int, folder: Path) -> None:
    if owner == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, content: str) -> None:
    temporary = path.with_suffix(f"{path.suffix}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
    temporary.replace(path)
