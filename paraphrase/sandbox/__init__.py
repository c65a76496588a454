"""Running two versions of a function on the same inputs, in a process with limits, to see that they do the same."""
