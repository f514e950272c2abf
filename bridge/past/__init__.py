"""Looking back: what the log and the checkpoints say about decisions of the past. Writes nothing anywhere."""
