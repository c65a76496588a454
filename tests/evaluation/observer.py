"""What is told how a plan advances, for tests that do not look at it."""


class Unwatched:
    """Shows nothing."""

    def begin(self, dataset, method, cases):
        pass

    def advance(self, method, cases):
        pass

    def track(self, steps, description, total):
        return steps
