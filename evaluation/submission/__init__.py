"""Runs that someone else made: whether they are what they say, as far as their files can tell. Loads no torch."""
