"""Records that are nothing but a phone: such a one belongs to whom the phone belongs, where that is one person.

Which cluster that is follows from the clusters of all others, so it is settled after them: a second person with the
phone, whenever they come, takes the record out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from connector_runner.resolution.clusters import Clusters, Pair, pair


def with_lone_phones(
    found: Clusters, lone: frozenset[str], phoned: Iterable[Pair], kept_apart: Callable[[Pair], bool]
) -> Clusters:
    """``found`` with each record of ``lone`` in the one cluster that holds its phone, if exactly one does.

    ``phoned`` are pairs with a phone in common of which one at least is lone; ``kept_apart`` tells of a pair whether
    it may never be in one cluster. Who was joined otherwise stays there.
    """
    holders: dict[str, set[str]] = {}
    for two in phoned:
        for record, other in (two, two[::-1]):
            if record in lone and other not in lone:
                holders.setdefault(record, set()).add(other)
    sizes: dict[str, list[str]] = {}
    for record, cluster in found.of.items():
        sizes.setdefault(cluster, []).append(record)
    into: dict[str, list[str]] = {}
    for record, others in sorted(holders.items()):
        held_by = {found.of[other] for other in others}
        if len(held_by) != 1 or len(sizes[found.of[record]]) > 1:
            continue
        cluster = held_by.pop()
        if not any(kept_apart(pair(record, member)) for member in sizes[cluster]):
            into.setdefault(cluster, []).append(record)
    # Of two that are kept apart from one another neither joins: which of them the phone's owner is, nothing says.
    joined = {
        record: min(holders[record])
        for records in into.values()
        for record in records
        if not any(kept_apart(pair(record, other)) for other in records if other != record)
    }
    return _joined(found, joined) if joined else found


def _joined(found: Clusters, joined: Mapping[str, str]) -> Clusters:
    into = {record: found.of[other] for record, other in joined.items()}
    members: dict[str, list[str]] = {}
    for record, cluster in found.of.items():
        members.setdefault(into.get(record, cluster), []).append(record)
    of = {record: min(group) for group in members.values() for record in group}
    return Clusters(of, (*found.links, *(pair(*two) for two in sorted(joined.items()))), found.refused)
