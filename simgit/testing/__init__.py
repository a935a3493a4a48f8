"""Contract suites and helpers for testing what is built on simgit's seams; needs pytest."""
