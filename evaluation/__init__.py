"""Edit a causal language model, measure what the edit did, and rank the methods."""
