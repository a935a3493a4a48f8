"""Objects: what an oid names, byte for byte. The specification is docs/object-format.md.

- ``oid``, ``kinds``: object ids; the kinds of objects with their payloads.
- ``codec``, ``canonical``, ``arrays``, ``coerce``: canonical values and arrays as bytes.
- ``schema``, ``columns``, ``row_encoder``, ``rows``, ``chain``: the row of a state, and its hash.
- ``chunking``, ``compression``: cutting large content; zstd frames and checksums.
"""
