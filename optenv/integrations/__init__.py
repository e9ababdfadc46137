"""Trainers and experiment trackers of others; each module imports its own package, and names the extra without it."""
