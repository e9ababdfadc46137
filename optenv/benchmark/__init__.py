"""The benchmark: paired runs of controllers and schedules on named tasks."""
