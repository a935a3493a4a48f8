"""simgit inside the scripts of others: a module a library, each the only door to it.

``sb3``: Stable-Baselines3 and sb3-contrib; ``torch``: any loop of one's own; ``pettingzoo``:
several agents; ``pytest_plugin``: recorded runs as a simulator's own tests. None is imported
before it is asked for.
"""
