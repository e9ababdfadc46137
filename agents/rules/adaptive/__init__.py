"""Rules on loss and reward that move a base optimizer's hyperparameters: as an optimizer, and as a controller."""
