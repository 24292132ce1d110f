"""Makes ``docs/compatibility.md`` from what the conformance runs found: ``python -m tests.conformance.matrix``.

The runs are made anew, each adapter against its simulator; what they found is kept in ``results.json`` beside this
module, and the page is made of nothing else. ``--keep`` makes the page again from what was kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.conformance.adapters import ADAPTERS
from tests.conformance.verdicts import Verdict

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs" / "compatibility.md"
COMMAND: Final = "python -m tests.conformance.matrix"
_FIRST: Final = ("test_reading.py", "test_probing.py", "test_pace.py")
_OWN: Final = "::test_the_quirk_is_handled"
_NAMES: Final = {
    "athenahealth": "athenahealth",
    "cerner": "Oracle Health (Cerner)",
    "eclinicalworks": "eClinicalWorks",
    "epic": "Epic",
    "fhir_store": "FHIR store",
    "rest_api": "REST API",
    "smart_fhir": "SMART FHIR",
}
_WRITES: Final = "test_writing.py"

HEAD: Final = f"""# Compatibility

What each adapter was seen to do against its simulator. This page is made by `{COMMAND}`
from the runs of the conformance suite (`tests/conformance`), and by nothing else: do not edit it. A cell names the
test that saw it; `unknown` is what no test has seen; `not offered` is what the vendor, or the adapter, does not have.

The simulators reproduce what the vendors' own statements and recorded answers tell (`connector_runner/sandbox/vendors`
cites them). A vendor's live servers differ from site to site: what one of them does is measured by the probe
(`connector-runner source test`, `source capabilities`), which has the last word over this page.
"""


def kept() -> list[Verdict]:
    """What the last runs found."""
    return [Verdict(**one) for one in json.loads(RESULTS.read_text("utf-8"))]


def page(verdicts: Iterable[Verdict]) -> str:
    """The page of these verdicts."""
    given = sorted(verdicts)
    shared = [one for one in given if not one.test.endswith(_OWN)]
    parts = [HEAD, "## All adapters\n", *_shared(shared)]
    for name in sorted({one.adapter for one in given if one.test.endswith(_OWN)}, key=_title):
        own = [one for one in given if one.adapter == name and one.test.endswith(_OWN)]
        parts += [f"## {_title(name)}\n", *_quirks(own)]
    return "\n".join(parts).rstrip() + "\n"


def _shared(verdicts: Sequence[Verdict]) -> list[str]:
    """One table of the capabilities that all adapters are asked for, and what the tests are."""
    names = sorted((adapter.name for adapter in ADAPTERS), key=_title)
    found = {(one.adapter, one.capability): one for one in verdicts}
    tests: dict[str, Verdict] = {}
    for one in sorted(verdicts, key=lambda one: (_place(one), one.capability)):
        tests.setdefault(one.capability, one)
    lines = [_row("capability", *map(_title, names)), _row(*("---" for _ in range(len(names) + 1)))]
    for capability, seen in tests.items():
        cells = [_cell(found.get((name, capability)), name, seen) for name in names]
        lines.append(_row(f"{capability} ({_link(seen)})", *cells))
    return [*lines, ""]


def _cell(verdict: Verdict | None, name: str, seen: Verdict) -> str:
    if verdict is not None:
        return verdict.result + (f": {verdict.note}" if verdict.note and verdict.result != "unknown" else "")
    adapter = next(adapter for adapter in ADAPTERS if adapter.name == name)
    asked = adapter.writes if _file(seen) == _WRITES else adapter.reads
    return "unknown" if asked else "not offered"


def _quirks(verdicts: Sequence[Verdict]) -> list[str]:
    """What a vendor's own tests saw."""
    lines = [_row("what is handled", "seen", "by"), _row("---", "---", "---")]
    for one in verdicts:
        note = f" ({one.note})" if one.note else ""
        lines.append(_row(one.capability + note, one.result, f"`{one.capability.replace(' ', '_')}` in {_link(one)}"))
    return [*lines, ""]


def _place(verdict: Verdict) -> tuple[int, str]:
    """What is read comes first, what is written last."""
    name = _file(verdict)
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST) + (name == _WRITES), name)


def _file(verdict: Verdict) -> str:
    return verdict.test.partition("::")[0]


def _link(verdict: Verdict) -> str:
    name, _, test = verdict.test.partition("::")
    label = name if verdict.test.endswith(_OWN) else test.removeprefix("test_").replace("_", " ")
    return f"[{label}](../tests/conformance/{name})"


def _title(name: str) -> str:
    return _NAMES.get(name, name)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def run() -> int:
    """Run the suite and keep what it found; the exit code of the run."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", str(here), f"--ignore={here / 'test_page.py'}", "-q"]
    environment = {**os.environ, "CONFORMANCE_RESULTS": str(RESULTS)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """The command."""
    failed = 0 if "--keep" in arguments else run()
    if failed:
        sys.stderr.write("the suite failed: the page stays as it was\n")
        return failed
    PAGE.write_text(page(kept()), "utf-8")
    sys.stderr.write(f"{PAGE.relative_to(ROOT)} is made\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
