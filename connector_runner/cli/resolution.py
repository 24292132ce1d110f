"""``resolution``: how good the links are, as far as people's words about pairs tell."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from connector_runner.bootstrap import Runner
from connector_runner.cli.console import Json, Workspace, open_runner, show, table, workspace_of
from connector_runner.resolution import population_store, report_store
from connector_runner.resolution.reporting import Bound, Group, Share, bound, groups
from connector_runner.resolution.service import thresholds_of

app = typer.Typer(help="Which entities are the same: how well that is told.", no_args_is_help=True)

_COLUMNS = ["rule", "bits", "same", "labels", "precision", "between", "of all same"]


@app.command("report")
def report(
    entity_type: Annotated[str, typer.Option("--entity-type", help="Such as patient or practitioner.")] = "patient",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Precision and recall per rule and score band, and the threshold that keeps false links within the bound."""
    runner = open_runner()
    found = _report(runner, workspace_of(runner, workspace), entity_type)
    show(found, as_json, lambda: _print(found))


def _report(runner: Runner, workspace_id: str, kind: str) -> dict[str, Any]:
    with runner.database.begin(workspace_id) as tx:
        labels = report_store.labels(tx, workspace_id, kind)
        size = population_store.load(tx, workspace_id, kind).size
        links = dict(report_store.links(tx, workspace_id, kind))
        counts = report_store.counts(tx, workspace_id, kind)
    met = bound(labels)
    return {
        "entity_type": kind,
        "counts": counts,
        "links": links,
        "thresholds": asdict(thresholds_of(kind, size)),
        "labels": {"same": sum(label.same for label in labels), "all": len(labels)},
        "groups": [_group(group) for group in groups(labels)],
        "false_merge_bound": _bound(met),
        "note": _note(met),
    }


def _share(share: Share) -> dict[str, Any]:
    return {"value": share.value, "part": share.part, "whole": share.whole, "interval": list(share.interval)}


def _group(group: Group) -> dict[str, Any]:
    shares = {"precision": _share(group.precision), "recall": _share(group.recall)}
    return {"rule": group.rule, "band": group.band, **shares}


def _bound(met: Bound) -> dict[str, Any]:
    shares = {"precision": _share(met.precision), "recall": _share(met.recall)}
    return {"allowed": met.allowed, "bits": met.bits, "labels_needed": met.needed, **shares}


def _note(met: Bound) -> str:
    if met.bits is not None:
        return f"from {met.bits:.1f} bits on, no more than {met.allowed:.0%} of links are false, as labels bear out"
    seen, wrong = met.precision.whole, met.precision.whole - met.precision.part
    if wrong == 0:
        return (
            f"too few labels to say what threshold keeps false links under {met.allowed:.0%}: {seen} of pairs that"
            f" link by themselves, {met.needed} needed"
        )
    return f"no threshold is borne out to keep false links under {met.allowed:.0%}: {wrong} of {seen} labels say false"


def _print(found: dict[str, Any]) -> None:
    table("Counted", ["what", "how many"], [[name, value] for name, value in found["counts"].items()])
    table("Links now", ["rule", "links"], [[name, value] for name, value in found["links"].items()])
    table("Labels", _COLUMNS, [_line(group) for group in found["groups"]])
    typer.echo(found["note"])


def _line(group: dict[str, Any]) -> list[object]:
    precision, recall = group["precision"], group["recall"]
    low, high = precision["interval"]
    share = f"{precision['value']:.3f}"
    part = f"{recall['part']}/{recall['whole']}"
    return [
        group["rule"],
        group["band"],
        precision["part"],
        precision["whole"],
        share,
        f"{low:.3f} to {high:.3f}",
        part,
    ]
