"""``connector-runner``, and ``python -m connector_runner.cli``: where a process begins."""

from __future__ import annotations

import gc

# Before the other imports, for it is they that this is about: they make objects by the hundred thousand and hardly any
# garbage. The collector takes a fifth of the CPU that a command needs to start.
gc.disable()

from connector_runner.cli.main import main as run  # noqa: E402


def main() -> None:
    """Run a command. What was imported is there for good, so the collector need not walk it again and again."""
    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
