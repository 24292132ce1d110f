"""The web server over real HTTP, on real Postgres and Redis."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

import psycopg2
import pytest
import requests
import uvicorn

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.infra.database import Database
from connector_runner.settings import Settings
from connector_runner.web import snapshot
from connector_runner.web.app import create_app
from tests.integration.clinic import CANARY, EHR, PARTNER, Clinic, a_patient

NOBODY_REDIS = "redis://127.0.0.1:9/0"
NOBODY_POSTGRES = "postgresql://app:app@127.0.0.1:9/none"


@contextmanager
def serving(runner: Runner) -> Iterator[str]:
    """The application in a thread of its own, on a free port of the loopback; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(runner), log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def runner(database_url: str, redis_url: str) -> Runner:
    return Runner(Settings(), Addresses(database_url, redis_url))


@pytest.fixture
def web(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(snapshot, "MAX_AGE_S", 0.0)
    with serving(runner) as url:
        yield url


@pytest.fixture
def clinic(database: Database, runner: Runner, workspace: str) -> Clinic:
    return Clinic(database, runner.quarantine, workspace)


class Relay:
    """A TCP port before a server, which can be closed and opened like the server itself."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.answers = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.answers:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._open += [client, server]
            for here, there in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(here, there), daemon=True).start()

    @staticmethod
    def _copy(here: socket.socket, there: socket.socket) -> None:
        try:
            while data := here.recv(65536):
                there.sendall(data)
        except OSError:
            return

    def cut(self) -> None:
        self.answers = False
        for end in self._open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._open.clear()

    def close(self) -> None:
        self.cut()
        self._listener.close()


@pytest.fixture
def relay(redis_url: str) -> Iterator[Callable[[], Relay]]:
    made: list[Relay] = []
    host, port = re.findall(r"@?([\w.-]+):(\d+)", redis_url)[-1]

    def create() -> Relay:
        made.append(Relay(host, int(port)))
        return made[-1]

    yield create
    for each in made:
        each.close()


class Page(HTMLParser):
    """What a reader of the page meets: landmarks, headings, tables, links, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_health_needs_nobody() -> None:
    with serving(Runner(Settings(), Addresses(NOBODY_POSTGRES, NOBODY_REDIS))) as url:
        answer = requests.get(f"{url}/health", timeout=5)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert requests.head(f"{url}/health", timeout=5).status_code == 200


def test_readiness_names_what_is_missing(web: str, runner: Runner, redis_url: str) -> None:
    answer = requests.get(f"{web}/ready", timeout=10)
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True, "checks": {"postgres": "ok", "schema": "ok", "redis": "ok"}, "missing": [],
    }  # fmt: skip
    with serving(Runner(Settings(), Addresses(NOBODY_POSTGRES, redis_url))) as url:
        answer = requests.get(f"{url}/ready", timeout=10)
        assert (answer.status_code, answer.json()["missing"]) == (503, ["postgres", "schema"])
    with serving(Runner(Settings(), Addresses(runner.addresses.database_url, NOBODY_REDIS))) as url:
        answer = requests.get(f"{url}/ready", timeout=10)
        assert (answer.status_code, answer.json()["missing"]) == (503, ["redis"])


def test_readiness_follows_redis_down_and_up(runner: Runner, redis_url: str, relay: Callable[[], Relay]) -> None:
    before = relay()
    through = re.sub(r":\d+(?=/|$)", f":{before.port}", redis_url)
    with serving(Runner(Settings(), Addresses(runner.addresses.database_url, through))) as url:
        assert requests.get(f"{url}/ready", timeout=10).status_code == 200
        before.cut()
        lost = requests.get(f"{url}/ready", timeout=10)
        assert (lost.status_code, lost.json()["checks"]["redis"]) == (503, "unreachable")
        assert requests.get(f"{url}/health", timeout=10).status_code == 200
        before.answers = True
        assert requests.get(f"{url}/ready", timeout=10).status_code == 200


def test_an_older_schema_is_not_ready(new_database: Callable[[], str], redis_url: str) -> None:
    url = new_database()
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE schema_version SET version_num = 'older'")
    connection.close()
    with serving(Runner(Settings(), Addresses(url, redis_url))) as address:
        answer = requests.get(f"{address}/ready", timeout=10)
    assert (answer.status_code, answer.json()["missing"]) == (503, ["schema"])


def test_a_server_that_hangs_costs_a_bounded_wait(runner: Runner) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    hangs = f"postgresql://app:app@127.0.0.1:{silent.getsockname()[1]}/none"
    try:
        with serving(Runner(Settings(), Addresses(hangs, runner.addresses.redis_url))) as url:
            started = time.monotonic()
            answer = requests.get(f"{url}/ready", timeout=10)
            assert time.monotonic() - started < 6
            assert (answer.status_code, answer.json()["checks"]["postgres"]) == (503, "no_answer")
            assert requests.get(f"{url}/health", timeout=10).status_code == 200
    finally:
        silent.close()


def test_the_page_shows_counts_and_no_patient(web: str, clinic: Clinic) -> None:
    ehr, partner = clinic.apply(EHR), clinic.apply(PARTNER)
    clinic.land(ehr, *(a_patient(n) for n in range(7)))
    clinic.land(partner, {"resourceType": "Organization", "id": "o", "name": CANARY})
    clinic.land(ehr, {"resourceType": CANARY, "id": "1"})
    clinic.reject(f"ehr:Patient:{CANARY}")
    clinic.polled(ehr, times_failed=3)
    for _ in range(3):
        clinic.lane(ehr, "waiting")
    clinic.run("UPDATE workspace SET name = '<b>North</b> & \"South\"' WHERE workspace_id = :ws")
    answer = requests.get(f"{web}/", timeout=10)
    page = Page(answer.text)
    assert answer.status_code == 200
    assert CANARY not in answer.text
    assert '<b>North</b> & "South"' in page.text
    assert "<b>" not in answer.text
    block = page.text.split(f"workspace clinic-{clinic.workspace}", 1)[1].split("workspace clinic-")[0]
    for words in (
        "events 8", "entities 8", "in quarantine 1", "types without mapping 1",
        "ehr: unreachable: the address cannot be reached",
        "ehr health unreachable the address cannot be reached", "ehr fhir_store ■ unhealthy unreachable",
        "partner file_drop ● healthy", "ehr open 0 3 0 0 3 waiting", "organization 1", "patient 7",
    ):  # fmt: skip
        assert words in block, words
    assert re.search(r"sink\.clinic-[0-9a-f-]+\.ehr 0", page.text)


def test_the_page_reads_well_without_eyes_scripts_or_others_servers(web: str, clinic: Clinic) -> None:
    clinic.apply(EHR)
    answer = requests.get(f"{web}/", timeout=10)
    page = Page(answer.text)
    assert answer.text.startswith("<!doctype html>")
    assert page.all("html")[0]["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("h1", "header", "main", "footer", "title", "script", "style", "img")] == [
        1, 1, 1, 1, 1, 0, 0, 0,
    ]  # fmt: skip
    assert len(page.all("caption")) == len(page.all("table")) > 0
    assert {cell.get("scope") for cell in page.all("th")} == {"col", "row"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {section["aria-labelledby"] for section in page.all("section")} <= set(ids)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert {"http-equiv": "refresh", "content": "5"} in page.all("meta")
    held = Page(requests.get(f"{web}/?refresh=off", timeout=10).text)
    assert "http-equiv" not in {key for meta in held.all("meta") for key in meta}
    addresses = [link["href"] for link in page.all("a") + page.all("link")]
    assert all(address and address[0] in "/#" and not address.startswith("//") for address in addresses)
    sheet = requests.get(f"{web}{page.all('link')[0]['href']}", timeout=10)
    assert (sheet.status_code, sheet.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in sheet.headers["cache-control"]


def test_every_text_colour_can_be_read_in_the_light_and_in_the_dark(web: str) -> None:
    sheet = requests.get(web + Page(requests.get(web, timeout=10).text).all("link")[0]["href"], timeout=10).text
    schemes = re.findall(r"--ground:.*?\}", sheet, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for name in ("text", "quiet", "link", "good", "warn", "bad"):
            for ground in ("ground", "raised"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("path", ["/", "/health", "/nothing", "/metrics"])
def test_every_answer_carries_the_headers(web: str, path: str) -> None:
    headers = requests.get(web + path, timeout=10).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_refusals_say_nothing_of_the_inside(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = requests.get(f"{web}/{CANARY}", timeout=10)
    assert (lost.status_code, CANARY in lost.text) == (404, False)
    refused = requests.post(f"{web}/health", timeout=10)
    assert (refused.status_code, "GET" in refused.headers["allow"]) == (405, True)
    assert [requests.get(f"{web}/{path}", timeout=10).status_code for path in ("docs", "openapi.json")] == [404, 404]

    def fails(_: snapshot.Snapshots) -> None:
        raise ValueError(f"patient {CANARY}")

    monkeypatch.setattr(snapshot.Snapshots, "latest", fails)
    failed = requests.get(web, timeout=10)
    assert failed.status_code == 500
    assert all(word not in failed.text for word in (CANARY, "Traceback", "ValueError", ".py"))
    assert "default-src 'none'" in failed.headers["content-security-policy"]


def test_without_postgres_the_page_and_the_scrape_say_so(redis_url: str) -> None:
    with serving(Runner(Settings(), Addresses(NOBODY_POSTGRES, redis_url))) as url:
        page = requests.get(url, timeout=20)
        assert (page.status_code, page.headers["retry-after"]) == (503, "5")
        assert "Postgres cannot be used now" in page.text
        scraped = requests.get(f"{url}/metrics", timeout=20)
        assert scraped.status_code == 200
        assert "connector_runner_postgres_up 0.0" in scraped.text
        assert "connector_runner_lanes{" not in scraped.text


def test_metrics_hold_what_stands_in_postgres(web: str, clinic: Clinic) -> None:
    ehr = clinic.apply(EHR)
    clinic.land(ehr, a_patient(1))
    clinic.reject("one")
    clinic.lane(ehr, "ready", due_ago_s=50)
    clinic.run("INSERT INTO pending_release (workspace_id, entity_id) VALUES (:ws, gen_random_uuid())")
    answer = requests.get(f"{web}/metrics", timeout=10)
    slug = f"clinic-{clinic.workspace}"
    assert answer.headers["content-type"].startswith("text/plain; version=")
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    prefix = "connector_runner_"
    assert values[f'{prefix}lanes{{sink="{slug}.ehr",state="ready"}}'] == "1.0"
    assert values[f'{prefix}source_healthy{{source="{slug}.ehr"}}'] == "0.0"
    assert values[f'{prefix}quarantine_open{{workspace="{slug}"}}'] == "1.0"
    assert values[f'{prefix}releases_pending{{workspace="{slug}"}}'] == "1.0"
    assert values[f'{prefix}events_stored{{workspace="{slug}"}}'] == "1.0"
    assert 49 < float(values[f'{prefix}lane_oldest_ready_seconds{{sink="{slug}.ehr"}}']) < 70
    assert (values[f"{prefix}postgres_up"], values[f"{prefix}redis_up"]) == ("1.0", "1.0")
    assert CANARY not in answer.text
    clinic.run("UPDATE data_source SET name = 'renamed'")
    again = requests.get(f"{web}/metrics", timeout=10).text
    assert f'"{slug}.ehr"' not in again
    assert f'"{slug}.renamed"' in again


def test_many_who_look_at_once_cost_one_question(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    take = snapshot._take

    def counted(*arguments: object) -> snapshot.Snapshot:
        asked.append(time.monotonic())
        return take(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot, "_take", counted)
    monkeypatch.setattr(snapshot, "MAX_AGE_S", 60.0)
    answers: list[int] = []
    with serving(runner) as url:
        threads = [
            threading.Thread(target=lambda: answers.append(requests.get(url, timeout=20).status_code))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (answers, len(asked)) == ([200] * 12, 1)
