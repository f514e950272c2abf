"""The commands of `vms-bridge`, one file each. Each imports what it needs when it runs, so `--help` is quick."""
