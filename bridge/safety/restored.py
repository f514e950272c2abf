"""After a restore nothing moves until a person says so, and what was told before it says nothing to doors.

A backup knows neither who pulled the kill switch or held a door after it was written, nor who has walked into the
airlock since. So the kill switch comes up pulled, and when the data were restored stays written down: what was heard
before is not known. Written by `restore` alone, before a bridge may start on the data.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from bridge.clock import Clock
from bridge.safety.journal import write_synced
from bridge.safety.killswitch import KillSwitch

_LOG = logging.getLogger(__name__)

FILE = "restored.json"
NEXT = (
    "the kill switch is pulled: what was stopped or held after the backup is not in it. Look at your doors "
    "(vms-bridge door list), then: vms-bridge kill --reset"
)
"""What a person does after a restore."""
_NOTHING = datetime.max.replace(tzinfo=UTC)


async def stop(folder: Path, backup: datetime, clock: Clock) -> None:
    """Pull the kill switch, unless it is, and write down that the data of `folder` are those of a backup.

    Raises OSError.
    """
    since = max(backup, clock.now())  # one of both clocks may be wrong, and the backup has nothing newer than itself
    write_synced(folder / FILE, json.dumps({"since": since.isoformat(), "backup": backup.isoformat()}).encode())
    kill = KillSwitch(folder, clock)
    if not kill.pulled:
        await kill.pull("restore", f"the data are those of a backup of {backup:%Y-%m-%d %H:%M:%S} UTC")


def restored_at(folder: Path) -> datetime | None:
    """Return when the data of a folder were restored, None if never. What cannot be read counts as just now."""
    try:
        return datetime.fromisoformat(json.loads((folder / FILE).read_bytes())["since"]).astimezone(UTC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.error("when the data were restored cannot be read: nothing of before counts", extra={"error": str(error)})
        return _NOTHING
