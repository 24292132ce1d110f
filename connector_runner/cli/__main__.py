"""``python -m connector_runner.cli``: the same as ``connector-runner``."""

from connector_runner.cli.main import main

main()
