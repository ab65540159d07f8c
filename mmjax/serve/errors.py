"""What a server refuses or fails at, each with its HTTP status."""

from __future__ import annotations

from mmjax.core.errors import DataError, MMJaxError, code_name

STATUS = {
    800: 400,  # the body is not what the path takes
    801: 400,  # a tensor is not what it says
    802: 400,  # no base64
    803: 401,  # no token, or a wrong one
    804: 403,  # another site's page, or a host name that is not this server's
    805: 404,  # no such path, model or version
    806: 405,  # no such method
    807: 408,  # the body came too slowly
    808: 413,  # too many bytes, rows or fields
    809: 415,  # a content type or encoding that is not read
    810: 400,  # an address that is not fetched
    811: 429,  # the queue is full
    812: 503,  # loading, draining or stopped
    813: 504,  # the deadline has passed
    814: 500,  # the model raised
    815: 500,  # the model gave values that are not finite
    816: 500,  # anything else
    817: 403,  # an answer that the filter withholds
    818: 500,  # the filter failed
}

_TOO_LARGE = frozenset({402, 309, 428})
"""Codes of media over a limit of pixels, bytes or seconds."""
_WRONG_FORMAT = frozenset({404, 414, 424})
"""Codes of media in a format that is not read."""


class ServeError(MMJaxError):
    """A request that is refused, or that could not be answered. Codes are those of `STATUS`."""

    retry_after: int | None = None
    """Seconds after which it may be asked again."""


def retry(code: int, what: str, seconds: int) -> ServeError:
    """An error that passes."""
    error = ServeError(code, what, fix=f"retry after {seconds} s")
    error.retry_after = seconds
    return error


def status_of(error: MMJaxError) -> int:
    """The HTTP status that tells of an error."""
    if error.code in STATUS:
        return STATUS[error.code]
    if not isinstance(error, DataError):
        return 400
    if error.code in _TOO_LARGE:
        return 413
    return 415 if error.code in _WRONG_FORMAT else 422


def told(error: MMJaxError) -> dict[str, str]:
    """`{"error", "code"}`: one line, and its code."""
    return {"error": str(error).partition(": ")[2], "code": code_of(error)}


def code_of(error: MMJaxError) -> str:
    """The code as it is written."""
    return code_name(error.code)
