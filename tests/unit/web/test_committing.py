"""Deliveries that are stored together: each is answered, also when nothing can be stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

from connector_runner.intake.push.receiving import Fresh, Received
from connector_runner.kernel.errors import Unavailable
from connector_runner.web.hooks import Committing


def test_without_postgres_each_of_a_batch_is_told_so_at_once() -> None:
    gate, batches = threading.Event(), []

    def store(fresh: Sequence[Fresh]) -> list[Received]:
        batches.append(len(fresh))
        gate.wait(10)
        raise Unavailable("no database")

    async def deliver() -> list[Any]:
        committing = Committing(store)
        waiting = [asyncio.ensure_future(committing.store(cast(Fresh, number))) for number in range(20)]
        await asyncio.sleep(0.2)
        gate.set()
        answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
        await asyncio.to_thread(committing.close)
        return answers

    answers = asyncio.run(deliver())
    assert max(batches) > 1
    assert [type(answer) for answer in answers] == [Unavailable] * 20
