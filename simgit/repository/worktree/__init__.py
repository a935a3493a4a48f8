"""The files of a state: read from the working directory, and written back safely."""
