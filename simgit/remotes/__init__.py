"""Copies of a repository, and parts of it as one file: clones and bundles."""
