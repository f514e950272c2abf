"""The configuration: what a user may write, and how it is read."""
