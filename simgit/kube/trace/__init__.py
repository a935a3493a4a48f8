"""Traces of SimKube: read, written, edited, compared, validated; see docs/simkube.md."""
