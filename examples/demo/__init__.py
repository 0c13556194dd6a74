"""A training that is killed in the middle of its saves, and what is left of it."""
