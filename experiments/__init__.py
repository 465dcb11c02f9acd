"""Experiments: one file each, a typed config and a function from it to a task."""
