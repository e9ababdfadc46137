"""How controllers are made: what they train on, workers, and stages that recipes are put together from."""
