"""What protects outputs: doors, the kill switch, the release journal."""
