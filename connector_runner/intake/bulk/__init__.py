"""Bulk exports of a source: asked for, fetched file by file, landed as an import, resumable anywhere."""
