"""What an environment is made of, as data: its spec, spaces, values and provenance."""
