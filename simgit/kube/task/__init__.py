"""The task of an agent: scenarios, actions, rewards, state vectors, safeguards, and the loop."""
