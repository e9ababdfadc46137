"""Trained policies, a folder a kind: numpy inference, the torch twin that is trained, the drop-in optimizer."""
