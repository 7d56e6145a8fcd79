"""Errors of prefgen and their exit codes.

PrefgenError                  the base: a message for the user, no traceback without --debug
├── UsageError          2     a wrong option, configuration or input file
│   ├── PackageMissing  2     a package that the command needs is not installed
│   └── Diverged        2     a loss that is not a number
├── ModelUnreachable    5     the model or judge cannot be loaded or reached
├── StoreUnreachable    5     a file at an address cannot be read or written for the network; resumable
├── CorruptRun          6     a run directory that was damaged, or resumed with other settings ("drift")
├── Locked              7     another process is writing to the same output
├── EnvironmentFault    8     disk full, out of memory, GPU gone
├── UnusableReplies     9     a judge's first replies, or most answers of online training, are of no use; resumable
├── BudgetReached       4     the judge's budget or quota is used up; resumable
├── TooManyDropped      3     the run finished, but more rows were dropped than allowed
├── NotGoodEnough       3     the data was looked at, and is worse than ``--fail-on`` allows
├── CommandFailed    any     a command that another one started has failed, with its exit code; resumable
└── Stopped        75/130     stopped by a signal; resumable
RowError                      one row cannot become a pair: it is dropped with this reason, the run continues
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The documented exit codes of every command."""

    DONE = 0
    BUG = 1
    USAGE = 2
    TOO_MANY_DROPPED = 3
    BUDGET = 4
    UNREACHABLE = 5
    CORRUPT = 6
    LOCKED = 7
    ENVIRONMENT = 8
    UNUSABLE_REPLIES = 9
    TERMINATED = 75
    INTERRUPTED = 130


class PrefgenError(Exception):
    """An error whose message is meant for the user: what was wrong, where, the value, and what to do."""

    exit_code: ExitCode = ExitCode.BUG


class UsageError(PrefgenError):
    """A wrong option, configuration value or input file."""

    exit_code = ExitCode.USAGE


class PackageMissing(UsageError):
    """A package that this command needs is not installed."""


class Diverged(UsageError):
    """The loss of a training run is not a number."""


class TooManyDropped(PrefgenError):
    """The run finished, but more rows were dropped than ``--max-dropped`` allows, or no pair was made at all."""

    exit_code = ExitCode.TOO_MANY_DROPPED


class NotGoodEnough(PrefgenError):
    """The command did its work, and the data has findings that ``--fail-on`` does not allow."""

    exit_code = ExitCode.TOO_MANY_DROPPED


class BudgetReached(PrefgenError):
    """``--max-cost`` or the account's quota is used up; paid replies are kept, and the same command resumes."""

    exit_code = ExitCode.BUDGET


class UnusableReplies(PrefgenError):
    """Replies are unusable: a judge's first replies all fail alike, or most answers of online training.

    What was paid for or trained is kept, and the same command continues.
    """

    exit_code = ExitCode.UNUSABLE_REPLIES


class ModelUnreachable(PrefgenError):
    """The model or judge cannot be loaded or reached."""

    exit_code = ExitCode.UNREACHABLE


class StoreUnreachable(PrefgenError):
    """The network or a store's server failed repeatedly; the same command resumes."""

    exit_code = ExitCode.UNREACHABLE


class CorruptRun(PrefgenError):
    """The run directory is damaged, or was started with other settings."""

    exit_code = ExitCode.CORRUPT


class Locked(PrefgenError):
    """Another process is writing to the same output directory."""

    exit_code = ExitCode.LOCKED


class EnvironmentFault(PrefgenError):
    """The machine failed: disk full, no permission, out of memory."""

    exit_code = ExitCode.ENVIRONMENT


class CommandFailed(PrefgenError):
    """A command that another one started has failed.

    Args:
        exit_code: its exit code.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = ExitCode(exit_code) if exit_code in set(ExitCode) else ExitCode.ENVIRONMENT


class Stopped(PrefgenError):
    """The run was stopped by a signal after its open shard was committed; the same command resumes it."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RowError(Exception):
    """One row cannot become a pair.

    Args:
        reason: stable upper-case code, e.g. ``IMG_MISSING``; counted in the report.
        detail: what was found, for a person: path, line number, value.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[RowError], tuple[str, str]]:
        """Pickle both arguments, so that the error can cross processes."""
        return type(self), (self.reason, self.detail)
