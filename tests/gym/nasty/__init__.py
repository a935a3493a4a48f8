"""Environments that hide their state, and what becomes of them when they are restored elsewhere.

``python -m tests.gym.nasty`` prints a table; see ``matrix``.
"""
