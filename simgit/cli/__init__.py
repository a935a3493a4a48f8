"""The command line: the only part that reads the environment, prints and exits.

A command is one call of the API plus printing; each group of commands is a file.
"""

from simgit.cli.root import cli, main

__all__ = ["cli", "main"]
