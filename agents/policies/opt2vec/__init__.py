"""Opt2Vec: embed the recent past of a run, and read each group's rate and momentum off the embedding."""
