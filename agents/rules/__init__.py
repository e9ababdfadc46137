"""Controllers that are not trained: schedules, rules on the loss, baselines."""
