"""Results on the Hugging Face Hub: run folders and a table of them in a dataset, the leaderboard in a static Space."""
