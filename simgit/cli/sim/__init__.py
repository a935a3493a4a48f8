"""``simgit sim``: simulations as processes.

- ``group``: the group of the commands; ``options``: what some of them share.
- ``start``: types, start, restart, fork, and the queue's workers.
- ``look``: list and show; ``follow``: watch.
- ``steer``: what people ask of a simulation.
"""
