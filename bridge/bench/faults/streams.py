"""What is stored, read as raw JSON straight from the server of the site under test."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import nats


class Streams:
    """The events and the results of a site; `refresh` reads what has come since."""

    def __init__(self, data_dir: Path) -> None:
        self._identity = data_dir / "bus" / "server.json"
        self._read = {"EVENTS": 0, "RESULTS": 0}
        self._messages: dict[str, list[dict[str, Any]]] = {"EVENTS": [], "RESULTS": []}

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event stored, in order."""
        return self._messages["EVENTS"]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The end of each order."""
        return [record for record in self._messages["RESULTS"] if "order" in record]

    @property
    def plates(self) -> list[str]:
        """The plates of the events."""
        return [event["data"]["plate"] for event in self.events if event["type"] == "plate.read"]

    def refresh(self) -> None:
        """Read what has come since."""
        asyncio.run(self._refresh())

    async def _refresh(self) -> None:
        who = json.loads(self._identity.read_text())
        client = await nats.connect(
            f"nats://127.0.0.1:{who['port']}", user="bridge", password=who["password"], allow_reconnect=False
        )
        try:
            for stream in self._messages:
                await self._read_on(client, stream)
        finally:
            await client.close()

    async def _read_on(self, client: Any, stream: str) -> None:
        while True:
            wanted = {"seq": self._read[stream] + 1, "next_by_subj": ">"}
            answer = await client.request(
                f"$JS.API.STREAM.MSG.GET.VMS-lab-{stream}", json.dumps(wanted).encode(), timeout=5
            )
            said = json.loads(answer.data)
            if said.get("error", {}).get("code") == 404:
                return
            message = said["message"]
            self._read[stream] = message["seq"]
            self._messages[stream].append(json.loads(b64decode(message["data"])))
