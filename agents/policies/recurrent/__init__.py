"""The recurrent policy: a long short-term memory per run and group."""
