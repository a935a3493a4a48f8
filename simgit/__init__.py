"""simgit: git for simulations."""
