"""The expected errors: each says what was wrong with which value, what was expected, and what to do next.

The command lines print an expected error as one line and exit with code 2; any other exception is a bug.
"""


class ClmeevalError(Exception):
    """Root of all expected errors."""


class ConfigError(ClmeevalError):
    """An option or a configuration value cannot be used."""


class UnknownNameError(ClmeevalError, LookupError):
    """A name that no registry entry carries."""


class SourceError(ClmeevalError):
    """Raw data is missing, incomplete, or not in the form that its source promises."""


class DatasetError(ClmeevalError):
    """A built dataset is missing, incomplete, or breaks the schema."""


class ModelError(ClmeevalError):
    """A model cannot be found, loaded, or used the way that was asked."""


class EditError(ClmeevalError):
    """An edit cannot be computed, applied, merged or loaded."""


class CaseError(ClmeevalError):
    """One case cannot be evaluated; the run goes on and the case is counted as failed."""


class ResultsError(ClmeevalError):
    """A results folder is damaged, or belongs to another configuration."""


class ChatError(ClmeevalError):
    """A chat server refuses or fails in a way that no retry mends; replies received before are in the cache."""


class BudgetSpent(ChatError):  # noqa: N818 - a bound that was asked for, not a failure
    """The next request would pass the largest number of requests or cost; replies received before are in the cache."""


class PublishError(ClmeevalError):
    """A release cannot be published: what is published stays whole, and the message says what it is."""
