"""A simulated TS-API server (TS-CMS, TS-NVR, TS-LPR), faithful to the vendor's guides and nasty on demand.

The connector is tested against it over real sockets, and `vms-bridge simulate ts-api` runs it for
people. It knows nothing of the bridge: what both know about the protocol was written down twice, from
the same documents.
"""

from .config import DEMO_KEY, SimulatorConfig
from .scenario import Scenario, load, shipped
from .server import Simulator, serve

__all__ = ["DEMO_KEY", "Scenario", "Simulator", "SimulatorConfig", "load", "serve", "shipped"]
