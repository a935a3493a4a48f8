"""Recorded states alive again: the nearest snapshot, actions re-executed, states compared."""
