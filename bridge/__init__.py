"""The VMS event bridge: listen to video systems, write everything down, decide by rules, act.

Importing this package starts nothing. The command line is `bridge.cli`; what connectors and
actions from outside may import is `bridge.sdk`.
"""

__version__ = "0.1.0"
