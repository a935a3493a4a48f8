"""The command line: the only part that reads the environment, prints and exits.

A command is one call of the API plus printing. Each has a module that is named after it, which is
imported when the command is called, and which imports the library when it runs: neither
``simgit --help`` nor the completion of a shell waits for NumPy or the store.
"""

from simgit.cli.entry import command, main

__all__ = ["command", "main"]
