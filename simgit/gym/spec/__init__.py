"""Environments as data: specs, spaces, recorded values, provenance."""
