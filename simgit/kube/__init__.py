"""SimKube traces, and the deterministic cluster that replays them.

Stands beside the store: nothing here imports it, gymnasium, torch or a Kubernetes client.
"""
