"""The life of a run's checkpoints: saving, naming the newest, keeping, deleting, following."""
