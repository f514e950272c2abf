"""The one HTTP port: push, health, metrics."""
