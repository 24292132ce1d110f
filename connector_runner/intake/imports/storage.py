"""Where a file's bytes are: on this machine, in parts in Postgres, or behind a URL that is fetched into parts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from connector_runner.infra.database import Database, Tx
from connector_runner.infra.http import HTTP, Answer, BadAnswer
from connector_runner.intake.imports import store
from connector_runner.kernel.errors import Misconfigured, RunnerError, Unavailable

PART_BYTES: Final = 1024 * 1024
_FETCH_PARTS: Final = 8
_FETCH_BYTES: Final = PART_BYTES * _FETCH_PARTS
_WEB: Final = ("http", "https")
_OBJECT_STORES: Final = ("s3", "gs", "abfs", "memory")
"""fsspec's protocols that reach an object store by its own credentials, and nothing else on the network."""
_SUFFIXES: Final = (".json", ".ndjson", ".jsonl", ".csv")

Keep = Callable[[Callable[[Tx], None]], None]
"""Runs a step in a transaction, provided that the file is still ours."""


class PartStream(io.RawIOBase):
    """The stored parts of a file as one stream. Each part is read in a short transaction of its own."""

    def __init__(self, database: Database, workspace_id: str, import_id: str, file_n: int) -> None:
        self._database = database
        self._ids = (workspace_id, import_id, file_n)
        self._at = 0
        self._part_n = -1
        self._part = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end is not known")
        self._at = offset + (self._at if whence == io.SEEK_CUR else 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        number, inside = divmod(self._at, PART_BYTES)
        if number != self._part_n:
            workspace_id, import_id, file_n = self._ids
            with self._database.begin(workspace_id) as tx:
                self._part = store.part(tx, import_id, file_n, number)
            self._part_n = number
        data = self._part[inside : inside + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def opener_of_parts(database: Database, lease: store.FileLease) -> Callable[[], BinaryIO]:
    """Opens a stored file."""

    def open_parts() -> BinaryIO:
        raw = PartStream(database, lease.workspace_id, lease.import_id, lease.file_n)
        return io.BufferedReader(raw, PART_BYTES)

    return open_parts


def opener_of_path(path: Path) -> Callable[[], BinaryIO]:
    """Opens a file of this machine."""
    return lambda: path.open("rb")


def pieces(path: Path) -> Iterator[bytes]:
    """A local file in pieces of one part."""
    with path.open("rb") as file:
        while data := file.read(PART_BYTES):
            yield data


def is_url(text: str) -> bool:
    """Whether ``text`` is a URL rather than a path."""
    return "://" in text


def check_url(url: str) -> None:
    """Raise Misconfigured (code ``bad_location``) for a URL that no worker may fetch."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise Misconfigured("a URL may not hold credentials", code="bad_location", where="location")
    if "::" in url or parts.scheme not in (*_WEB, *_OBJECT_STORES):
        known = ", ".join(f"{scheme}://" for scheme in ("file", *_WEB, *_OBJECT_STORES))
        raise Misconfigured(f"files are read from {known} or a path", code="bad_location", where="location")


def local_files(path: Path) -> tuple[list[Path], int]:
    """The files to import at a path, a folder taken whole and in order; and how many others were passed over.

    Raises Misconfigured (code ``no_file``) when there is no such file or folder.
    """
    if path.is_file():
        return [path], 0
    if not path.is_dir():
        raise Misconfigured("there is no such file or folder", code="no_file", where="location")
    found: list[Path] = []
    others = 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            taken = name.lower().removesuffix(".gz").endswith(_SUFFIXES) and not name.startswith(".")
            if taken and file.is_file():
                found.append(file)
            else:
                others += 1
    return sorted(found), others


def fetch(url: str, have_parts: int, http: HTTP, keep: Keep, lease: store.FileLease) -> None:
    """Fetch a file into parts, going on behind those that are there.

    Raises Misconfigured when it cannot be fetched at all, TryAgain errors when it may be later.
    """
    check_url(url)
    reader = _WebReader(http, url) if urlsplit(url).scheme in _WEB else _ObjectReader(url)
    done = False
    while not done:
        data = reader.read(have_parts * PART_BYTES)
        done = len(data) < _FETCH_BYTES or reader.whole
        numbered = [
            (have_parts + n, data[at : at + PART_BYTES]) for n, at in enumerate(range(0, len(data), PART_BYTES))
        ]
        size = have_parts * PART_BYTES + len(data)
        keep(_keeping(lease, numbered, size if done else None))
        have_parts += len(numbered)


def _keeping(lease: store.FileLease, numbered: list[tuple[int, bytes]], size: int | None) -> Callable[[Tx], None]:
    def step(tx: Tx) -> None:
        for number, body in numbered:
            store.add_part(tx, lease.workspace_id, lease.import_id, lease.file_n, number, body)
        if size is not None:
            store.set_stored(tx, lease.import_id, lease.file_n, size)

    return step


class _WebReader:
    """Reads a range at a time, through the guarded way out; all at once where the server knows no ranges."""

    def __init__(self, http: HTTP, url: str) -> None:
        self._http = http
        self._url = url
        self._etag: str | None = None
        self.whole = False

    def read(self, at: int) -> bytes:
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={at}-{at + _FETCH_BYTES - 1}"}
        if self._etag is not None:
            headers["If-Match"] = self._etag
        try:
            answer = self._http.request(
                "GET", self._url, headers=headers, timeout_s=30, deadline_s=120, allow_redirects=True
            )
        except BadAnswer as error:
            if error.code == "answer_too_long":
                message = "the server sends no ranges, and the file is too long to be taken at once"
                raise Misconfigured(message, code="no_ranges", where="location") from None
            raise
        return self._body(answer, at)

    def _body(self, answer: Answer, at: int) -> bytes:
        if answer.status == 206:
            etag = answer.headers.get("ETag", "")
            self._etag = etag if etag.startswith('"') else None
            return answer.body
        if answer.status == 200:
            self.whole = True
            return answer.body[at:]
        if answer.status == 416 and at:
            return b""
        if answer.status in (408, 425, 429) or answer.status >= 500:
            raise Unavailable(f"the server answered {answer.status}", where="location")
        if answer.status == 412:
            raise Misconfigured("the file changed while it was fetched", code="changed", where="location")
        raise Misconfigured(f"the server answered {answer.status}", code="not_fetched", where="location")


class _ObjectReader:
    """Reads from an object store through fsspec, which is imported only now."""

    whole = False

    def __init__(self, url: str) -> None:
        import fsspec

        self._url = url
        try:
            self._files, self._path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            message = "the package for this kind of URL is not installed"
            raise Misconfigured(message, code="bad_location", where="location") from error

    def read(self, at: int) -> bytes:
        try:
            with self._files.open(self._path, "rb") as file:
                file.seek(at)
                return bytes(file.read(_FETCH_BYTES))
        except FileNotFoundError:
            raise Misconfigured("there is no such file", code="no_file", where="location") from None
        except PermissionError:
            raise Misconfigured("the file may not be read", code="not_readable", where="location") from None
        except RunnerError:
            raise
        except Exception as error:
            # Each object store's package has exceptions of its own; their texts may hold the file's name.
            raise Unavailable(f"the object store failed ({type(error).__name__})", where="location") from None
