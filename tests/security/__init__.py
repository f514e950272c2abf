"""Promises about hostile input and secrets, proven on the whole bridge."""
