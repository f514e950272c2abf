"""Faults: break things around a running bridge, and compare what it promised with what is there.

The injector writes down what it was promised, the far side what reached it, and a checker compares
the two with what is stored. The bridge is started as a process and spoken to as anybody would; of
its code nothing is imported here, so that an error of the product cannot hide itself.
"""
