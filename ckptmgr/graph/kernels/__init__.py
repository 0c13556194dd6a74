"""What computes each type of operation on NumPy arrays, one module per family."""
