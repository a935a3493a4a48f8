"""Copies of a repository, and parts of it that travel: clones and bundles."""
