"""What the server offers at each API level, in each product and with each licence.

The tables are the vendor's: TS-API guide 0.9.20 (sections and change list), v1 guide and changelog
1.1.0, and the product appendix of the older guides. Nothing here holds state.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal, NamedTuple

Feature = Literal["lpr", "parking", "object", "face", "emergency", "push", "eventBackup", "bodyTemperature", "tracking"]

LAST_V0 = "0.9.20"
FIRST_V1 = "1.0.0"


class Level(NamedTuple):
    """An API level; compares as a triple, so 0.9.4 is below 0.9.20."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Level:
        """Read `0.9.20` or `TS-API@0.9.20`."""
        match = re.fullmatch(r"(?:[\w-]+@)?(\d+)\.(\d+)\.(\d+)", text)
        if not match:
            raise ValueError(f"not an API level such as 0.9.20 or 1.1.0: {text}")
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Product(StrEnum):
    """The three products that speak TS-API."""

    CMS = "TS-CMS"
    NVR = "TS-NVR"
    LPR = "TS-LPR"


class TopicFacts(NamedTuple):
    """When a topic exists: first and last v0 level (None: not on v0), first v1 level, licence it needs."""

    v0: str | None
    v1: str | None
    feature: Feature | None


# TS-API guide 0.9.20, Event topics; v1 guide 1.1.0, Realtime events. `packing` was dropped from the v1 list.
TOPICS: dict[str, TopicFacts] = {
    "channelStatus": TopicFacts("0.3.0", FIRST_V1, None),
    "emergencyCall": TopicFacts("0.3.0", FIRST_V1, "emergency"),
    "LPR": TopicFacts("0.3.0", FIRST_V1, None),
    "systemEvent": TopicFacts("0.7.0", FIRST_V1, None),
    "motionChanges": TopicFacts("0.8.0", FIRST_V1, None),
    "recordingStatus": TopicFacts("0.9.5", FIRST_V1, None),
    "parkingCount": TopicFacts("0.9.0", FIRST_V1, "parking"),
    "parkingSpot": TopicFacts(None, FIRST_V1, "parking"),
    "packing": TopicFacts("0.9.0", None, None),
    "object": TopicFacts("0.9.6", FIRST_V1, "object"),
    "bodyTemperature": TopicFacts("0.9.14", FIRST_V1, "bodyTemperature"),
    "vehicleTracking": TopicFacts(None, FIRST_V1, "tracking"),
}

# Left out of the v0 answer to `what=realtimeEvent` although the topic works: the guide's own sample does so.
UNLISTED_ON_V0 = frozenset({"bodyTemperature"})

# Last printed for 0.9.16: what a product lacks, by the first path words or the `what=` of the call.
PRODUCT_LACKS: dict[Product, frozenset[str]] = {
    Product.CMS: frozenset({"recordings", "recDays", "recMinutes", "carNo", "similarCarNo", "push"}),
    Product.NVR: frozenset(),  # carNo only with the LPR interworking licence, which `unlicensed` takes away
    Product.LPR: frozenset(),
}

# First product version with an API level, newest last (appendix of the guides before 0.9.17).
PRODUCT_VERSIONS: dict[Product, str] = {
    Product.CMS: "v0.46.6 (64-bit)",
    Product.NVR: "v0.46.6 (64-bit)",
    Product.LPR: "v0.14.7A (64-bit)",
}
V1_PRODUCT_VERSION = "3.0.0"
V1_PRODUCT_NAMES: dict[Product, str] = {Product.LPR: "TS-IVR"}  # TS-LPR was renamed

EXTENSIONS_V0: tuple[tuple[str, Feature | None], ...] = (
    ("lprExt", "lpr"),
    ("emergencyCall", "emergency"),
    ("objectDetection", "object"),
    ("faceRecognition", "face"),
    ("sharedFrameBuffer", None),
)
EXTENSIONS_V1: tuple[tuple[str, Feature | None], ...] = (
    *EXTENSIONS_V0,
    ("vehicleTracking", "tracking"),
    ("parkingGuide", "parking"),
    ("parkingSpot", "parking"),
)


def offered_topics(level: Level, *, v1: bool, unlicensed: frozenset[Feature]) -> list[str]:
    """Return the topics a server of this level and licence accepts, in the order of the vendor's list."""
    offered = []
    for topic, facts in TOPICS.items():
        since = facts.v1 if v1 else facts.v0
        if since and level >= Level.parse(since) and facts.feature not in unlicensed:
            offered.append(topic)
    return offered
