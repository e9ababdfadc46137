"""OptBrain: a tiny brain that learns online how to scale each parameter group's steps."""
