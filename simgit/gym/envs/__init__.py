"""The environments that simgit brings: SimKube, and recorded runs replayed."""
