"""Whether agents learn: every scenario with ten seeds, and one agent for all scenarios."""
