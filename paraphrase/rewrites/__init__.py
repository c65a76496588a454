"""Rewritings of a Python function that keep its meaning, one kind a file; the engine that combines them is above."""
