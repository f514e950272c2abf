"""Benchmarks: what the bridge costs, beside the least that anybody could write, in one run."""
