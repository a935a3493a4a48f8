"""Restoring of recorded states: the nearest snapshot, then actions re-executed and compared."""
