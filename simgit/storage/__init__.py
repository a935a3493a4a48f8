"""Ordered tables of bytes: the seam between simgit and the disk."""
