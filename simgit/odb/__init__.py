"""The object database: where objects lie. The specification is docs/store-layout.md.

- ``database``: one door to all objects: write, read (verified), exists, resolve a prefix.
- ``segments``: states and their large arrays, in columns.
- ``loose``, ``overflow``, ``array_delta``, ``trees``: single objects.
- ``location``, ``ancestry``: where a state lies; walks over states.
- ``unreachable``: the objects that gc found to be unreachable, and since when.
"""
