"""How TensorFlow 1 programs save, restore, export and freeze: one small program for each way.

Each has two halves: `write` makes files in a directory, and `read`, which may be another program
on another day, gives the numbers that it gets from them. docs/recipes.md explains them.
"""
