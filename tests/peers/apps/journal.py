"""What an application received, kept in memory so that a test can read it back."""

import json
from typing import Any

from fastapi import FastAPI


class Journal:
    """A list of received requests, served as JSON under /test/journal."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    async def note(self, request: Any, **more: Any) -> dict[str, Any]:
        """Write down an SDK request exactly as it arrived, before the SDK reshaped it."""
        original = request.original_request
        entry = {
            "key": request.api_key,
            "headers": dict(original.headers),
            "query": dict(original.query_params),
            "body": json.loads(await original.body()),
            **more,
        }
        self.entries.append(entry)
        return entry

    def serve(self, app: FastAPI) -> None:
        """Add the endpoint by which tests read the entries."""
        app.add_api_route("/test/journal", self._read, methods=["GET"])

    async def _read(self) -> list[dict[str, Any]]:
        return self.entries
