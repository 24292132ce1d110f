"""What a connector says when a record type is not read by pages: that an export of it is wanted."""

from __future__ import annotations

from connector_runner.kernel.errors import NotYet


class ExportDue(NotYet):
    """The type is read by a bulk export: ask for one (``intake.bulk.requesting``) and come back at the cadence."""

    default_code = "export_due"
