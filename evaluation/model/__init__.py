"""A causal language model, edits of it as values, and what causality lets us compute once."""
