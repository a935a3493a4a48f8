"""Objects: what an oid names, byte for byte. The specification is docs/object-format.md.

- ``oid``, ``kinds``: object ids; the kinds of objects with their payloads.
- ``codec``, ``canonical``, ``arrays``, ``coerce``: canonical values and arrays as bytes.
- ``columns``, ``schema``: states on their way in, as columns; the typed fields of a row.
- ``row_encoder``, ``rows``, ``chain``: columns to packed rows, packed rows to values, their hashes.
- ``chunking``, ``compression``: cutting large content; zstd frames and checksums.
"""
