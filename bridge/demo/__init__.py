"""`vms-bridge demo`: everything at once on one machine, with nothing but this package."""
