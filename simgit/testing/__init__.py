"""Contract suites and helpers for testing implementations of simgit's interfaces; needs pytest."""
