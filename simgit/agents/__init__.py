"""Agents that learn or decide: plain arrays in, actions out; they know no store and no cluster."""
