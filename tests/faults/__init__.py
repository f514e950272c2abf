"""Faults: the bridge is killed, and an independent ledger says whether the promise held.

Nothing here imports the product: the injector, the device and the checker read what is on disk, on
the wire and in the streams with their own eyes.
"""
