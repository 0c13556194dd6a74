"""Names of TensorFlow over this package's own, so that code written for it runs without it."""
