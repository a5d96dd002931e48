"""Dividing rows over partitions: by the hash of keys, or of whole rows."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

_MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: spreads combined hashes (Knuth, TAOCP 6.4)
_PARTITION = "__partition"


def hash_keys(keys: Sequence[pl.Expr], dtypes: Sequence[pl.DataType], seed: int) -> pl.Expr:
    """One 64-bit hash of the keys. Values that SQL calls equal hash alike: -0.0 and 0.0, every NaN, NULL and NULL."""
    combined: pl.Expr | None = None
    for key, dtype in zip(keys, dtypes, strict=True):
        if dtype.is_float():
            # Adding 0.0 turns -0.0 into 0.0; the branch makes one NaN of all bit patterns.
            key = pl.when(key.is_nan()).then(pl.lit(float("nan"), dtype)).otherwise(key + pl.lit(0.0, dtype))
        elif isinstance(dtype, pl.Decimal):
            key = key.cast(pl.Decimal(38, dtype.scale))
        hashed = key.hash(seed)
        combined = hashed if combined is None else (combined * pl.lit(_MIX, pl.UInt64)) ^ hashed
    assert combined is not None
    return combined


def hash_partition(
    frame: pl.DataFrame, keys: Sequence[pl.Expr], count: int, seed: int = 0
) -> list[pl.DataFrame | None]:
    """``frame`` in ``count`` parts by the hash of ``keys``; a part without rows is None.

    Another ``seed`` divides independently: rows of one partition spread over all partitions of the next division.
    """
    if frame.height == 0:
        return [None] * count
    dtypes = list(frame.lazy().select([k.alias(str(i)) for i, k in enumerate(keys)]).collect_schema().values())
    return _divided(frame, hash_keys(keys, dtypes, seed), count)


def row_partition(frame: pl.DataFrame, count: int) -> list[pl.DataFrame | None]:
    """``frame`` in ``count`` parts of about equal size; which part a row belongs to depends on its values alone."""
    return _divided(frame, frame.hash_rows(seed=2), count)


def _divided(frame: pl.DataFrame, hashes: pl.Expr | pl.Series, count: int) -> list[pl.DataFrame | None]:
    part = (hashes % count).cast(pl.UInt32).alias(_PARTITION)
    divided = frame.with_columns(part).partition_by(_PARTITION, as_dict=True, include_key=False, maintain_order=True)
    return [divided.get((i,)) for i in range(count)]
