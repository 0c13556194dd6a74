"""Named tensors under one prefix."""
