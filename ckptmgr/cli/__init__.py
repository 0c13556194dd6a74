"""The `ckptmgr` command: what a person types."""
