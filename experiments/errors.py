"""Errors that a user can mend. Standard library only."""

from collections.abc import Iterable


class ConfigError(ValueError):
    """An invalid setting: its name, the value received and the allowed values.

    problems: one line for each invalid setting.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))
