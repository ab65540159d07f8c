"""Errors that a user can act on: one line with a code, what happened, where, and what to do.

Codes: 1xx config, 2xx manifest and columns, 3xx paths and files, 4xx media, 5xx text, tables and
labels, 6xx weights and checkpoints, 7xx run time, 8xx server.
Exit codes: 0 done, 2 user, config or data (do not retry), 3 numeric failure, 42 preempted and
saved (retry), 75 transient input or output (retry), 143 a second signal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MMJaxError(Exception):
    """Base of every error meant for a user.

    `what` names the field and value, `where` the file, row, column or setting, `fix` the valid
    choices with the nearest first.
    """

    exit_code = 2

    def __init__(self, code: int, what: str, *, where: str = "", fix: str = ""):
        self.code = code
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [f"mmjax error {code_name(self.code)}: {self.what}"]
        if self.where:
            parts.append(f"where: {self.where}")
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return " | ".join(" ".join(part.split()) for part in parts)

    def __reduce__(self):  # worker processes send errors back by pickling them
        return _rebuild, (type(self), self.code, self.what, self.where, self.fix)


def code_name(code: int) -> str:
    """A code as it is written."""
    return f"MMX-{code:03d}"


def _rebuild(cls: type[MMJaxError], code: int, what: str, where: str, fix: str) -> MMJaxError:
    return cls(code, what, where=where, fix=fix)


class ConfigError(MMJaxError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class DataError(MMJaxError):
    """A manifest, a file or a value in it is not what was declared."""


class CheckpointError(MMJaxError):
    """A run folder or checkpoint is missing, damaged, locked, or belongs to another run."""


class WeightsError(MMJaxError):
    """Pretrained weights are missing, damaged, refused, or belong to another architecture."""


class NumericError(MMJaxError):
    """Loss or gradients stayed non-finite."""

    exit_code = 3


class TransientError(MMJaxError):
    """Input or output failed in a way that a retry may cure."""

    exit_code = 75


class Preempted(MMJaxError):
    """A signal asked the run to stop, and it was saved; run again with --resume."""

    exit_code = 42


def nearest(name: str, choices: Iterable[str], *, most: int = 12) -> str:
    """A hint: "did you mean 'x'? valid: ..." with the nearest choice first."""
    valid = sorted({str(choice) for choice in choices})
    close = difflib.get_close_matches(str(name), valid, n=3, cutoff=0.5)
    ordered = close + [choice for choice in valid if choice not in close]
    listed = ", ".join(ordered[:most]) + (", ..." if len(ordered) > most else "")
    if not valid:
        return "there are none"
    return f"did you mean '{close[0]}'? valid: {listed}" if close else f"valid: {listed}"
