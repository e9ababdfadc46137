"""The recipe of Opt2Vec: imitation, then the exact gradient of the final loss."""
