"""`/api/system` and `/api/v1/system/...`: hardware, health, SMART, restart. Values as in the samples."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from .call import Call
from .happenings import LogRow
from .parts import Message

_GIB = 1024**3

_INFO: dict[str, Any] = {
    "os": {
        "name": "Microsoft Windows Embedded Standard",
        "servicePack": "Service Pack 1",
        "version": "6.1.7601",
        "arch": "64-bit",
    },
    "cpu": [{"name": "Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz", "manufacturer": "GenuineIntel", "cores": 4}],
    "mainboard": {"name": "B150M-A", "manufacturer": "ASUSTeK COMPUTER INC."},
    "memory": [
        {
            "name": "DIMM_A1",
            "manufacturer": "Samsung",
            "bank": "BANK 0",
            "capacity": 4 * _GIB,
            "serialNo": "15392520",
            "type": "DDR3",
            "speed": 1600,
        }
    ],
    "graphicAdapter": [{"name": "Intel(R) HD Graphics 530", "manufacturer": "Intel Corporation", "videoMemory": _GIB}],
    "disk": [
        {
            "capacity": 1_000_202_273_280,
            "deviceId": "\\\\.\\PHYSICALDRIVE0",
            "interface": "IDE",
            "manufacturer": "(Standard disk drives)",
            "name": "ST1000LM024 HN-M101MBB",
            "partition": [
                {
                    "fileSystem": "NTFS",
                    "mount": "E:",
                    "name": "Disk #0, Partition #0",
                    "numberOfBlocks": 1_953_519_616,
                    "size": 1_000_202_043_392,
                    "startingOffset": 1_048_576,
                    "volumeName": "data.hdd",
                }
            ],
            "serialNo": "S2R8J9BC700641",
            "smartCaps": True,
        }
    ],
    "cdrom": [
        {
            "name": "HL-DT-ST DVDRAM GP50NB40 USB Device",
            "manufacturer": "(Standard CD-ROM drives)",
            "type": "DVD Writer",
        }
    ],
    "networkAdapter": [
        {
            "connectionId": "Ethernet",
            "dlSpeed": 100_000_000,
            "ipv4": {
                "dhcp": True,
                "dns": ["210.220.163.82"],
                "gateway": ["192.168.0.1"],
                "ip": ["192.168.0.43/24"],
            },
            "ipv6": {"ip": ["fe80::8f0:3d03:b67f:7025%8/64"]},
            "mac": "80:FA:5B:03:79:5E",
            "manufacturer": "Realtek",
            "name": "Realtek PCIe GBE Family Controller",
            "netEnabled": True,
            "ulSpeed": 100_000_000,
        }
    ],
}
_HEALTH: dict[str, Any] = {
    "cpu": [
        {
            "temperatureKelvin": {"critical": 393.2, "current": 287.2},
            "usage": {"threads": [37, 19, 50, 6], "total": 26},
        }
    ],
    "memory": {
        "totalPhysical": 12_797_329_408,
        "freePhysical": 4_630_482_944,
        "totalVirtual": 14_743_486_464,
        "freeVirtual": 4_666_306_560,
    },
    "disk": [
        {
            "name": "E:",
            "totalTimePercent": 0,
            "readTimePercent": 0,
            "writeTimePercent": 0,
            "totalBytesPerSec": 0,
            "readBytesPerSec": 0,
            "writeBytesPerSec": 0,
            "fileSystem": "NTFS",
            "volumeName": "data.hdd",
            "totalSpace": 1_000_202_039_296,
            "freeSpace": 199_067_635_712,
        }
    ],
    "recording": {
        "current": "E:\\recData\\",
        "storage": [{"comment": "Overwrite", "path": "E:\\recData\\", "usage": 2}],
    },
    "network": [
        {
            "name": "Realtek PCIe GBE Family Controller",
            "totalBytesPerSec": 650,
            "recvBytesPerSec": 650,
            "sendBytesPerSec": 0,
            "curBandwidth": 433_300_000,
        }
    ],
}
# `?info` calls the memory otherwise in its answer than in its list of items.
_ANSWER_NAMES = {"memory": "physicalMemory"}


async def system(call: Call) -> Any:
    """Answer `/api/system`: one of info, health, hddsmart, restart, reboot."""
    if call.has("restart") or call.has("reboot"):
        return await (restart if call.has("restart") else reboot)(call)
    for what, answer in (("info", info), ("health", health), ("hddsmart", hddsmart)):
        if call.has(what):
            return await answer(call)
    raise HTTPException(400, "nothing asked")


async def info(call: Call) -> Any:
    """Describe the machine."""
    asked = _items(call, "info", _INFO)
    if asked is None:
        return [*_INFO, "all"]
    found: Message = {"lastUpdate": call.view.stamp(call.world.now())}
    found |= {_ANSWER_NAMES.get(item, item): _INFO[item] for item in asked}
    if "memory" in asked:
        found["memoryAmount"] = sum(item["capacity"] for item in _INFO["memory"])
    if "disk" in asked:
        found["storageAmount"] = sum(item["capacity"] for item in _INFO["disk"])
    return found


async def health(call: Call) -> Any:
    """Tell how the machine is."""
    asked = _items(call, "health", _HEALTH)
    if asked is None:
        return [*_HEALTH, "all"]
    return {"lastUpdate": call.view.stamp(call.world.now())} | {item: _HEALTH[item] for item in asked}


async def hddsmart(call: Call) -> Any:
    """Give the disks' own data; `code` counts from -1 on v0 and from 0 on v1."""
    attribute: Message = {"attribute": "Reallocated Sector Count", "critical": True, "id": 5, "raw": 100}
    if call.view.since("0.9.13"):
        attribute["rawHex"] = "000000000064"
    attribute |= {"threshold": 0, "value": 0, "worst": 100}
    disk = _INFO["disk"][0]
    return [
        {
            "code": 2 if call.v1 else 1,
            "message": "Supported",
            "model": disk["name"],
            "name": disk["deviceId"],
            "smart": [attribute],
        }
    ]


async def restart(call: Call) -> Any:
    """Restart the server: accepted and logged, and every event socket drops."""
    return _down(call, "The server restarts in a few seconds.")


async def reboot(call: Call) -> Any:
    """Reboot the machine: as restart, as far as clients can see."""
    return _down(call, "The system will shut down in less than a minute and then restart.")


def _down(call: Call, message: str) -> Message:
    if not call.client.admin:
        raise HTTPException(403, "administrators only")
    call.world.happen(LogRow(topic="systemEvent", type=0, code=2))
    for feed in list(call.world.hub.feeds):
        feed.link.vanish()
    call.world.happen(LogRow(topic="systemEvent", type=0, code=1))
    return {"code": 0, "message": message}


def _items(call: Call, key: str, known: Message) -> list[str] | None:
    """Return the items asked for (v1: `item=`), or None when only their names are wanted."""
    asked = call.text("item" if call.v1 else key)
    if asked == "supported":
        return None
    items = [item for item in asked.split(",") if item and item != "all"] or list(known)
    if not set(items) <= set(known):
        raise HTTPException(400, "unknown item")
    return items
