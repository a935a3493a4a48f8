"""Gymnasium: environments that are recorded, restored and replayed."""
