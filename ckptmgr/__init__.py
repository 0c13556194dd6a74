"""TensorFlow's checkpoint system without TensorFlow, for any training loop."""

__version__ = "0.1.0"
