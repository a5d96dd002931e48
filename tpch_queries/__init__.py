"""The 22 TPC-H queries as the specification prints them, with its validation parameters.

Two places where engines do not read the specification's letters: Q1's `day (3)` stands without its
precision, and Q15 uses the variant of Appendix B that the specification permits (`with` instead of
creating and dropping a view). "Return the first N rows" is written `limit N`.
"""

from __future__ import annotations

from pathlib import Path

NUMBERS = range(1, 23)
TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


def query(number: int) -> str:
    """The text of TPC-H query `number`, 1 to 22."""
    if number not in NUMBERS:
        raise ValueError(f"TPC-H has queries 1 to 22, not {number}")
    return (Path(__file__).parent / f"q{number:02}.sql").read_text(encoding="utf-8")
