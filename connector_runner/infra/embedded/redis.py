"""The embedded Redis (Valkey): append-only file on, nothing ever evicted."""

from __future__ import annotations

import secrets
import signal
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from connector_runner.infra.embedded.programs import Account, find_redis
from connector_runner.infra.embedded.server import Server, make_folder
from connector_runner.kernel.errors import Misconfigured


class EmbeddedRedis(Server):
    """Redis under one home."""

    kind = "redis"
    stop_signal = signal.SIGTERM
    abrupt_signal = signal.SIGKILL

    def url(self) -> str:
        """URL of database 0."""
        entry = self._own_entry()
        if not entry:
            raise Misconfigured("no embedded Redis was set up here", code="no_services", where=str(self.home.path))
        return _url(entry)

    def _secrets(self) -> dict[str, str]:
        return {"password": secrets.token_hex(16)}

    def _answers(self, entry: dict[str, Any]) -> bool:
        client = redis.Redis.from_url(
            _url(entry), socket_timeout=3, socket_connect_timeout=3, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping())
        except redis.RedisError:  # nobody there, somebody else there, or still loading
            return False
        finally:
            client.close()

    def _prepare(self, data: Path, account: Account | None, entry: dict[str, Any]) -> list[str]:
        make_folder(data, account)
        return [str(find_redis(account).path), "-"]

    def _input(self, entry: dict[str, Any]) -> bytes:
        lines = (
            "bind 127.0.0.1",
            f"port {entry['port']}",
            f"requirepass {entry['password']}",
            f'dir "{_quoted(entry["data"])}"',
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            'logfile ""',
            f'proc-title-template "{{title}} {{listen-addr}} {self.home.token}"',
        )
        return ("\n".join(lines) + "\n").encode()

    def _after_start(self, entry: dict[str, Any]) -> None:
        """Nothing: Redis has no roles or databases to make."""

    def _is_main(self, arguments: list[str]) -> bool:
        return True

    def _owns(self, arguments: list[str], token: str) -> bool:
        words = " ".join(arguments).split()
        return bool(words) and Path(words[0]).name in ("valkey-server", "redis-server") and token in words


def _url(entry: dict[str, Any]) -> str:
    return f"redis://:{entry['password']}@127.0.0.1:{entry['port']}/0"


def _quoted(text: str) -> str:
    """Text inside a double-quoted argument of Redis' configuration."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
