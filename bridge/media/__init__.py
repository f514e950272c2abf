"""Clips: footage in, playable files out.

Recorded pieces are fetched, cut in worker processes and kept in a store. Importing this package loads no
PyAV: only the worker process does, because a demuxing thread beside a busy event loop starves.
"""
