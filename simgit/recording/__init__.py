"""Recording: from values that a user passes to states that are durable.

- ``states``: values checked, packed and hashed.
- ``recorder``, ``vector_recorder``: one run, or many at once.
- ``flush``: when buffered states are stored, here or in the background.
- ``stream``: states from a program in any language, as JSON lines or msgpack.
"""
