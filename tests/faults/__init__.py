"""Crashes, power cuts, damage and hostile input: what a repository must survive, and how it is shown."""
