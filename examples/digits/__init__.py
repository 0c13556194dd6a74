"""Handwritten digits: a process that trains, and one that evaluates what it saves."""
