"""``python -m simgit``."""

from simgit.cli import main

if __name__ == "__main__":
    main()
