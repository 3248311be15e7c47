"""Logs: one JSON object a line, on standard output."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from chassis.context import request_id
from chassis.identity import Identity


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with the id of the request it belongs to."""

    def __init__(self, identity: Identity) -> None:
        super().__init__()
        self._identity = {"service": identity.service, "environment": identity.environment, "version": identity.version}

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, without a line break."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self._identity,
        }
        if current := request_id():
            line["request_id"] = current
        line.update(getattr(record, "fields", {}))
        if record.name != "chassis":
            line["logger"] = record.name
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(identity: Identity, *, level: str = "info") -> None:
    """Send every logger of the process to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(identity))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Its start and stop lines would say again, in other words, what the server here says.
    for name in ("uvicorn", "httpx2", "httpcore2", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.root.level))
