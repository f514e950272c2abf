"""Clips: cutting them out of recordings in worker processes, and keeping them."""
