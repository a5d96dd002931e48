"""Ray Datasets in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from executor.runners.ray.blocks import RemoteBlock
from executor.runners.ray.tables import ClusterTable
from executor.runners.ray.workers import shapes
from executor.sources.base import engine_schema
from planner.errors import UnsupportedError

if TYPE_CHECKING:
    from ray.data import Dataset as Dataset


def is_dataset(value: object) -> bool:
    """Whether a value is a ``ray.data.Dataset``.

    Raises:
        UnsupportedError: that needs packages that are not installed.
    """
    return isinstance(value, ray_data().Dataset)


def dataset_table(name: str, dataset: Any) -> ClusterTable:
    """A table over a ``ray.data.Dataset``, which runs if it has not."""
    refs = dataset.to_arrow_refs()
    told = shapes(refs)
    found = (RemoteBlock(r, rows, size) for r, (rows, size, _) in zip(refs, told, strict=True) if rows)
    blocks = dict(enumerate(found))
    schema = next((s for rows, _, s in told if rows), None) or next((s for *_, s in told), pa.schema([]))
    return ClusterTable(name, engine_schema(schema, name), blocks)


def to_dataset(table: pa.Table) -> Dataset:
    """A ``ray.data.Dataset`` of rows in this process.

    Raises:
        UnsupportedError: that needs packages that are not installed.
    """
    dataset: Dataset = ray_data().from_arrow(table)
    return dataset


def ray_data() -> Any:
    """The module ``ray.data``, which needs packages that ray itself does not bring.

    Raises:
        UnsupportedError: they are not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise UnsupportedError(f"Ray Datasets cannot be used: {error}", hint='pip install "ray[data]"') from None
    return ray.data
