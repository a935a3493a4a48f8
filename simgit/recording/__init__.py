"""Recording: from values that a user passes to states that are durable.

- ``states``: values checked, packed and hashed.
- ``recorder``, ``vector_recorder``: one run, or many at once.
- ``flush``: when buffered states are stored, here or in the background.
- ``simulators``: simulators of any kind, put back and verified by their hooks.
- ``catch_up``, ``verdicts``: comparison with what is recorded, and what is noted of it.
- ``stream``: states from a program in any language, as JSON lines or msgpack.
"""
