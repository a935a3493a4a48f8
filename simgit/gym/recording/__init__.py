"""Recording of environments: the wrappers, their sessions, and the snapshots that they take."""
