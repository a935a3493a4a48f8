"""The environments of simgit: SimKube, and the replay of recorded runs."""
