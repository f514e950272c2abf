"""The rule language and its engine: pure, no I/O, no clock."""
