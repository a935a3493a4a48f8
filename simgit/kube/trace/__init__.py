"""Traces of SimKube; see docs/simkube.md.

- ``model``: a trace in memory; ``check``: from decoded data to a trace, place by place.
- ``sktrace``: the msgpack file; ``json_form``: the same as JSON; ``files``: either, by path.
- ``edit``, ``patch``: edits, and what they changed; ``spec_hash``: the hashes in a trace.
- ``diff``, ``timeline``, ``workload_table``: traces as lines and rows for a reader.
"""
