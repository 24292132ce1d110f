"""How right the judge is, by what people answered: precision, recall, Brier score, with intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

from connector_runner.review.judge.case import SUPPORTED

Z: Final = 1.96
"""Two-sided 95 %."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said of a claim, and what the judge had said. ``weight``: for how many such claims it stands.

    ``times``: so many answers say just this.
    """

    version: str
    category: str
    verdict: str
    score: float
    weight: float
    holds: bool
    times: int = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """The judge of one version in one category. ``labels`` are answers, ``passed`` those of claims that it supported.

    ``precision``: of what it supported, the share that holds. ``recall``: of what holds, the share that it supported.
    ``brier``: the mean square of what its score was off, 0 is best. None where no answer tells.
    """

    version: str
    category: str
    labels: int
    passed: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    brier: float | None


def wilson(share: float, n: float) -> Interval:
    """The Wilson score interval of a share of ``n`` (Wilson 1927; Brown, Cai and DasGupta 2001), at 95 %."""
    spread = Z * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    middle = share + Z * Z / (2 * n)
    scale = 1 + Z * Z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def measured(labels: Iterable[Label]) -> list[Measured]:
    """What the labels say of each version in each category.

    What people see of the claims that the judge passed is a sample: each answer counts for as many as it stands for,
    and the interval is of as many answers as that leaves (Kish's effective size).
    """
    groups: dict[tuple[str, str], list[Label]] = {}
    for label in labels:
        groups.setdefault((label.version, label.category), []).append(label)
    return [_of(version, category, group) for (version, category), group in sorted(groups.items())]


def _of(version: str, category: str, labels: Sequence[Label]) -> Measured:
    passed = [label for label in labels if label.verdict == SUPPORTED]
    precision, precision_interval = _share([(label, label.holds) for label in passed])
    recall, recall_interval = _share([(label, label.verdict == SUPPORTED) for label in labels if label.holds])
    total = sum(label.weight * label.times for label in labels)
    off = sum(label.weight * label.times * (label.score - label.holds) ** 2 for label in labels)
    return Measured(
        version,
        category,
        _answers(labels),
        _answers(passed),
        precision,
        precision_interval,
        recall,
        recall_interval,
        off / total if total else None,
    )


def _answers(labels: Iterable[Label]) -> int:
    return sum(label.times for label in labels)


def _share(counted: Sequence[tuple[Label, bool]]) -> tuple[float | None, Interval | None]:
    total = sum(label.weight * label.times for label, _ in counted)
    if not total:
        return None, None
    share = sum(label.weight * label.times for label, counts in counted if counts) / total
    effective = total * total / sum(label.weight * label.weight * label.times for label, _ in counted)
    return share, wilson(share, effective)


def too_wrong(labels: Sequence[Label], *, bound: float, least: int) -> tuple[int, float] | None:
    """How many answers there are of what the judge passed, and its precision, where that is under ``bound``.

    None while it holds, or while fewer than ``least`` answers tell.
    """
    passed = [label for label in labels if label.verdict == SUPPORTED]
    share, _ = _share([(label, label.holds) for label in passed])
    if share is None or _answers(passed) < least or share >= bound:
        return None
    return _answers(passed), share
