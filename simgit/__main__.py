"""``python -m simgit``."""

from simgit.cli import command

if __name__ == "__main__":
    command()
