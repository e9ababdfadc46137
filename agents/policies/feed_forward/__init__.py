"""The feed-forward policy, shared by all groups."""
