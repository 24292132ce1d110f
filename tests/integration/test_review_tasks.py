"""How much of a worker process review takes while it waits for a model."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.review.loop import BATCH, Reviewed
from connector_runner.settings import Settings
from tasks import review


@pytest.fixture(autouse=True)
def environment(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are made with the settings of their process."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)


@pytest.mark.parametrize(("questions", "threads"), [(32, 16), (4, 16), (64, 40), (8, 1)])
def test_tasks_share_the_questions_of_a_process(questions: int, threads: int) -> None:
    settings = Settings(llm_concurrency=questions, io_threads=threads)
    assert settings.review_tasks <= max(1, threads // 4)
    assert settings.llm_share * settings.review_tasks <= questions
    assert settings.llm_share >= 1


def test_no_more_are_judged_together_than_a_round_of_questions() -> None:
    def at_once(**values: object) -> int:
        settings = Settings(encryption_key="A" * 43 + "=", **values)  # type: ignore[arg-type]
        return Runner(settings, Addresses("postgresql://nowhere", "redis://nowhere")).review.at_once

    assert at_once() == BATCH
    assert at_once(llm_base_url="http://127.0.0.1:1/v1", llm_model="m", llm_concurrency=32, io_threads=16) == 8


def test_a_model_that_hangs_leaves_the_other_threads_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, answered, waiting = Settings(io_threads=16), threading.Event(), threading.Semaphore(0)

    class Slow:
        def run(self, workspace_id: str) -> Reviewed:
            waiting.release()
            assert answered.wait(10)
            return Reviewed(1)

    monkeypatch.setattr(review, "runner", lambda: SimpleNamespace(settings=settings, review=Slow()))
    with ThreadPoolExecutor(settings.io_threads) as threads:
        busy = [threads.submit(review.review.run, "w") for _ in range(settings.review_tasks)]
        for _ in busy:
            assert waiting.acquire(timeout=10)
        more = [threads.submit(review.review.run, "w") for _ in range(8)]
        assert [each.result(timeout=5).entities for each in more] == [0] * 8, "they are free for other work"
        answered.set()
        assert [each.result(timeout=5).entities for each in busy] == [1] * settings.review_tasks
    assert review.review.run("w").entities == 1
