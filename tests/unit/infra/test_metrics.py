"""Metrics carry names and outcomes, never ids."""

from __future__ import annotations

import pytest

from connector_runner.infra import metrics


def test_a_scrape_shows_what_was_counted() -> None:
    metrics.WRITES.labels(sink="clinic-store", outcome="confirmed").inc()
    text = metrics.expose().decode()
    assert 'connector_runner_writes_total{outcome="confirmed",sink="clinic-store"} 1.0' in text
    assert metrics.CONTENT_TYPE.startswith("text/plain")


@pytest.mark.parametrize("make", [metrics.counter, metrics.gauge, metrics.histogram])
def test_a_label_that_could_be_an_id_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="entity_id"):
        make("never_made", "x", ("sink", "entity_id"))  # type: ignore[operator]
