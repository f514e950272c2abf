"""What keeps the parts running and says how they are: supervisor, health, log, metrics."""
