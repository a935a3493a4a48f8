"""Differences between values, arrays, rows and runs, as plain data."""
