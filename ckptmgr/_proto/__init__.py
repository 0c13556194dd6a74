"""Generated protobuf modules of TensorFlow's checkpoint formats (layer: leaf)."""
