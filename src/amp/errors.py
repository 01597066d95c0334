"""One small tree of exceptions; a message is one line: what was found and what to do."""

from __future__ import annotations


class AmpError(Exception):
    """Anything that a person can put right; the command line prints it as one line."""


class InvalidInputError(AmpError):
    """A value, name, file or option is not what was expected."""


class EnvironmentFailedError(InvalidInputError):
    """An environment raised an error, refused an action, or returned what it should not."""


class MissingDependencyError(AmpError):
    """An optional package, a model file or a data set is not installed; the message says how."""


class ModelError(AmpError):
    """A language model could not answer: unreachable, refused the request, or answered garbage.

    Attributes:
        model: name of the model; empty until a meter has said which one it asked.
    """

    model: str = ""


class RecordingError(AmpError):
    """A recording lacks what a replay needs, or was made with something else."""


class LimitReachedError(AmpError):
    """The next call would break a limit of the episode, so it was not made.

    Attributes:
        limit: which limit: ``steps``, ``tokens``, ``dollars`` or ``seconds``.
    """

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


class KeyRefusedError(InvalidInputError):
    """A virtual key is unknown or revoked.

    Attributes:
        revoked: whether it was good once.
    """

    def __init__(self, message: str, *, revoked: bool = False) -> None:
        super().__init__(message)
        self.revoked = revoked


class BudgetReachedError(LimitReachedError):
    """The next call would break a limit of a virtual key, so it was not made.

    Attributes:
        limit: which, by its name in `amp.serve.accounts.keys.KeyLimits`.
        retry_after: seconds after which it may be allowed; None if waiting does not help.
    """

    def __init__(self, limit: str, message: str, retry_after: float | None) -> None:
        super().__init__(limit, message)
        self.retry_after = retry_after


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Returns ``; did you mean 'x'?`` for the nearest of the known names, or an empty string."""
    import difflib

    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
