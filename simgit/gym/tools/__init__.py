"""Tools for environments: doctor, films, playing, what-if, recording without a script."""
