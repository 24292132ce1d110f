"""``python -m connector_runner.web``: the web server on ``$HOST`` and ``$PORT``."""

from __future__ import annotations

import os

from connector_runner.settings import Settings
from connector_runner.web.app import serve

if __name__ == "__main__":
    serve(Settings(), host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))
