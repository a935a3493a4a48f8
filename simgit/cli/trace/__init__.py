"""``simgit trace``: a module for each of its commands."""
