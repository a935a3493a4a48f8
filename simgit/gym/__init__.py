"""Gymnasium: record any environment, go back to any state, and continue exactly."""
