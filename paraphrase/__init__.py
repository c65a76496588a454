"""Another wording of a prompt: an intent in other words, or a function in other code with the same meaning."""
