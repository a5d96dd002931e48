"""Accepted differences between sqlray and DuckDB, each with its reason.

An entry says which failing queries it explains, by the query's text and by what was found. A finding that an
entry explains is counted as known and not reported.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One query on which the engines do not agree.

    `status` is `wrong` (other rows), `type` (other column types or names), `error` (sqlray failed and DuckDB
    did not), `unsupported`, `slow`, `crash` (not a SqlrayError) or `no error` (only DuckDB failed).
    `detail` says what differs, or holds the error's text.
    """

    status: str
    sql: str
    detail: str


@dataclass(frozen=True, slots=True)
class KnownDifference:
    """One accepted difference: why, and which findings it explains."""

    reason: str
    explains: Callable[[Finding], bool]


def _matches(status: str, pattern: str) -> Callable[[Finding], bool]:
    expression = re.compile(pattern)
    return lambda finding: finding.status == status and expression.search(finding.detail) is not None


KNOWN_DIFFERENCES: tuple[KnownDifference, ...] = (
    KnownDifference(
        "DuckDB's own bug: it reports an internal error (INTERNAL Error or FATAL Error), sqlray answers.",
        _matches("no error", r"InternalException|FatalException|INTERNAL Error|did not return a Bound"),
    ),
    KnownDifference(
        "DuckDB refuses some correlated subqueries and joins that sqlray can run (not implemented there).",
        _matches("no error", r"NotImplementedException|not (yet )?supported|not implemented"),
    ),
    KnownDifference(
        "DuckDB allows no window function in a window's definition, in a subquery there neither; sqlray does there.",
        _matches("no error", r"window functions are not allowed in window definitions"),
    ),
    KnownDifference(
        "DuckDB's own bug: it cannot copy some subqueries that it moves (Serialization Error).",
        _matches("no error", r"Cannot copy BoundSubqueryExpression"),
    ),
    KnownDifference(
        "Decimals that need more than 38 digits together: DuckDB gives up digits of the scale, sqlray does not.",
        _matches("type", r"type decimal128\(38, \d+\) expected, decimal128\(38, \d+\) found"),
    ),
    KnownDifference(
        "polars 1.44's streaming engine fails at the end of some plans, after rows have been handed over.",
        _matches("error", r"assertion failed: pipe\.send_state == PortState::Done"),
    ),
    KnownDifference(
        "A part of a constant NULL date is a DOUBLE in DuckDB; here it is a BIGINT as of any date.",
        _matches("type", r"type double expected, int64 found"),
    ),
    KnownDifference(
        "DuckDB multiplies decimals of up to 18 digits in 64 bits and overflows; sqlray does not.",
        _matches("no error", r"Overflow in multiplication of DECIMAL\(18\)"),
    ),
    KnownDifference(
        "DuckDB evaluates an expression that the result does not need, and its overflow ends the query.",
        _matches("no error", r"OutOfRangeException|Overflow|ConversionException"),
    ),
)


def known_reason(finding: Finding) -> str | None:
    """Why this finding is accepted, or nothing."""
    for known in KNOWN_DIFFERENCES:
        if known.explains(finding):
            return known.reason
    return None
