"""How fast the judge is by rules alone, and what it would let a model pass.

    .venv/bin/python -m benchmarks.judge_speed [calls]

Invented calls of ``tests/calls`` from each of its books: what the words of the caller bear out is what a model that
supports everything could pass at the most. ``held_out`` is the one that no rule was made with: its figure is the one to
believe of words that nobody foresaw (``docs/decisions/0012-judging-what-was-heard.md``).
"""

from __future__ import annotations

import json
import sys
import time

from connector_runner.review.judge.judging import RulesThenModel
from connector_runner.review.judge.rules import Point, decide, unreadable
from connector_runner.review.judge.speech import read
from tests.calls.cases import case_of
from tests.calls.generator import WHEN, calls
from tests.integration.test_judge import Unbounded

BOOKS = ("first", "second", "unseen", "held_out")


def main() -> None:
    """Judge, and print one JSON document."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    found = {"calls": count, "events_per_cpu_s": round(_speed(count)), "books": {b: _passed(count, b) for b in BOOKS}}
    print(json.dumps(found, indent=2))


def _speed(count: int) -> float:
    cases = [case_of(call) for call in calls(count, books=BOOKS)]
    judge = RulesThenModel(lambda: None, Unbounded(), clock=lambda: WHEN)
    started = time.process_time()
    judge.judge(cases)
    return count / (time.process_time() - started)


def _passed(count: int, book: str) -> dict[str, float]:
    true = passed = false = wrong = alone = 0
    for call in calls(count, books=(book,)):
        case = case_of(call)
        speech = read(case.material) if case.material else None
        words = {word.path: word for word in decide(case, speech, unreadable(speech) if speech else None, WHEN)}
        for said in call.claims:
            word = words[said.atom]
            by_rules = not isinstance(word, Point) and word.verdict == "supported"
            stands = isinstance(word, Point) or by_rules
            true, passed = true + said.is_true, passed + (stands and said.is_true)
            false, wrong = false + (not said.is_true), wrong + (stands and not said.is_true)
            alone += by_rules and said.is_true
    return {
        "true": true,
        "passed": round(passed / true, 3),
        "passed_without_a_model": round(alone / true, 3),
        "false": false,
        "false_passed": wrong,
    }


if __name__ == "__main__":
    main()
