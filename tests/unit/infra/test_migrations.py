"""Which schema this release wants."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from connector_runner.infra import migrations
from connector_runner.settings import PROJECT_ROOT


def test_the_revision_read_from_the_files_is_the_one_that_is_migrated_to() -> None:
    config = Config()
    config.set_main_option("script_location", str(PROJECT_ROOT / "migrations"))
    assert migrations._head() == ScriptDirectory.from_config(config).get_current_head()
