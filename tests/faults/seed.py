"""The seed of a run: `VMS_FAULTS_SEED`, or another one each time, shown when a test fails."""

from __future__ import annotations

import os
import random


def chosen_seed() -> int:
    """Return it, and print it."""
    seed = int(os.environ.get("VMS_FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    print(f"VMS_FAULTS_SEED={seed}")
    return seed
