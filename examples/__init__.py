"""Programs that use ckptmgr as its users would."""
