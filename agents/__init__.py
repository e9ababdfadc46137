"""Controllers, and how they are trained."""
