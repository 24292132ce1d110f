"""Each code by which a lane, the quarantine of outbound, or review gives its reason is explained in docs/reasons.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from connector_runner.connectors.sinks import Outcome
from connector_runner.outbound.validation import problems
from connector_runner.settings import PROJECT_ROOT

ROOT = PROJECT_ROOT / "connector_runner"
PAGE = PROJECT_ROOT / "docs/reasons.md"
WORD = re.compile(r"[a-z]{2,}(_[a-z]+)*")
IN_SQL = re.compile(r"\breason = ('[a-z_]+'|CASE .*? END)")

# Where every constant that is a word is a reason.
CONSTANTS = (
    *("outbound", "policy/asking.py", "resolution/possible.py", "review/items.py", "review/judge", "review/reasons.py"),
    *("connectors/fhir/answers.py", "connectors/fhir/transactions.py", "connectors/sinks.py"),
)
# Where a reason may be written out: as an argument of these calls, by place or by name; or in SQL.
LITERAL = (
    *("outbound", "connectors/**/*sink*.py", "connectors/athenahealth/forms.py"),
    *("unification/engine.py", "unification/outbound.py"),
)
ARGUMENTS: dict[str, tuple[int | str, ...]] = {
    "BadRecord": ("code",), "Nothing": (0, "reason"), "NotYet": ("code",), "Reply": (1, "code"),
    "Unfit": (0,), "Wait": ("reason",), "Withheld": (1,), "_unknown": (1,), "confirm": ("reason",),
    "give_back": ("reason",), "put": ("code",), "quarantine": (2,), "replace": ("code",), "retry": (2,),
    "set_aside": (1,),
}  # fmt: skip
# The judge's are what its functions return, and what they put into these.
JUDGING = ("answering", "afterwards", "checks", "judging", "rules", "verifying", "weighing")
JUDGED = ("Evidence", "FieldVerdict", "Statement", "replace", "verdict")

NO_REASON = {
    "actors, stages, types, fields, facts and policies of writing": {
        "appointment_refused", "connector_runner", "consent", "create", "events", "match", "ordered", "outbound",
        "outbound_task", "part_of", "parted", "patient", "record", "release", "repair", "security_labels",
        "sync_status", "synced", "translation", "update",
    },
    "states of items": {"completed", "expired", "in_progress", "pending"},
    "what `outbound undo` says of a write": {"created", "deleted", "edited_since", "nothing_to_undo"},
    "what a command says that refuses": {
        "local_names", "newer_landed", "no_body", "no_such_code", "no_such_lane",
        "no_such_translation", "not_in_question", "reference", "too_many_events", "unknown_cause", "unknown_entity",
    },
    "what the metrics of reading back say": {"moved", "passed_over"},
    "causes, in the log and in metrics": {"identity_dropped", "rolled_back"},
    "what a preview says of its own request": {"limiter", "no_record"},
    "the judge's own words, which it gives no reason by": {
        "confirmed", "model", "rules", "said", "stands", "supported",
    },
}  # fmt: skip
FAMILIES = {"http_…", "llm_…"}


def files(*patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        found = sorted(ROOT.glob(pattern if pattern.endswith(".py") else f"{pattern}/**/*.py"))
        assert found, f"{pattern}: there is no such file; say here where its reasons went"
        yield from (path for path in found if "validation" not in path.parts)


def words(node: ast.expr | None) -> set[str]:
    """The words that an expression may be; nothing of what it only compares, calls or looks up."""
    match node:
        case ast.Constant(value=str(word)) if WORD.fullmatch(word):
            return {word}
        case ast.IfExp():
            return words(node.body) | words(node.orelse)
        case ast.BoolOp():
            return set().union(*map(words, node.values))
        case ast.Tuple():
            return set().union(*map(words, node.elts))
    return set()


def arguments(call: ast.Call, which: tuple[int | str, ...]) -> set[str]:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    given = [*(named[key] for key in which if key in named), *(a for n, a in enumerate(call.args) if n in which)]
    return set().union(*map(words, given))


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def constants() -> Iterator[str]:
    for path in files(*CONSTANTS):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.Assign | ast.AnnAssign):
                continue
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            several = isinstance(target, ast.Tuple)
            if not ast.unparse(target).startswith("_") and (several or not isinstance(node.value, ast.Tuple)):
                yield from words(node.value)


def written_out() -> Iterator[str]:
    for path in files(*LITERAL):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield from arguments(node, ARGUMENTS.get(name_of(node), ()))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                for value in IN_SQL.findall(node.value):
                    yield from re.findall(r"(?:^|THEN |ELSE )'([a-z_]+)'", value)


def judged() -> Iterator[str]:
    for path in files(*(f"review/judge/{name}.py" for name in JUDGING), "review/routing.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Return | ast.Assign):
                yield from words(node.value)
            elif isinstance(node, ast.Call) and name_of(node) in JUDGED:
                yield from words(ast.Tuple([*node.args, *(keyword.value for keyword in node.keywords)]))


def of_the_source() -> set[str]:
    layers = (problems.SYNTACTIC, problems.SEMANTIC, problems.POLICY, problems.SINK)
    found = {*constants(), *written_out(), *judged(), *map(str, Outcome), *(f"invalid_{layer}" for layer in layers)}
    return found - set().union(*NO_REASON.values())


def explained() -> set[str]:
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([^`]+)`", row)}


def test_every_reason_is_explained() -> None:
    source = of_the_source()
    assert {"below_threshold", "lease_expired", "attempts", "possible_match", "answered_twice"} <= source
    assert source - explained() == set(), "explain these in docs/reasons.md, or say in NO_REASON what else they are"


def test_every_reason_that_is_explained_is_one() -> None:
    assert explained() - of_the_source() - FAMILIES == set(), "nothing gives these any more: take them off the page"


def test_what_is_said_to_be_no_reason_is_in_the_source() -> None:
    found = {*constants(), *written_out(), *judged()}
    assert set().union(*NO_REASON.values()) - found == set(), "there are no such words any more"
