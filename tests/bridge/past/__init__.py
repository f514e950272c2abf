"""Looking back at decisions of the past."""
