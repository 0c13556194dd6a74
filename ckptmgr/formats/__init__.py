"""Bytes to values and back. Never opens a file."""
