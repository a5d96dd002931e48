"""What all tests share: which of them run here, and TPC-H data at a small scale."""

import importlib.util
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sqlray.tpch_data import generate

TPCH_TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips, with the reason, what this environment cannot run or was not asked to."""
    benchmarks = config.getoption("benchmark_only", default=False) or os.environ.get("SQLRAY_BENCHMARKS")
    skips = {
        "slow": (not os.environ.get("SQLRAY_SLOW"), "slow: set SQLRAY_SLOW=1"),
        "cudf": (importlib.util.find_spec("cudf_polars") is None, "cudf-polars is not installed"),
        "gpu": (not _has_gpu(), "no GPU here"),
    }
    for item in items:
        for marker, (absent, reason) in skips.items():
            if absent and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
        if not benchmarks and "benchmark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="a benchmark: pass --benchmark-only"))


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() and importlib.util.find_spec("cudf_polars") is not None


@pytest.fixture(scope="session")
def tpch_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the TPC-H tables at scale 0.01, a Parquet file each.

    SQLRAY_TPCH_DATA names one that is already there, of any scale.
    """
    given = os.environ.get("SQLRAY_TPCH_DATA")
    if given and all((Path(given) / f"{table}.parquet").exists() for table in TPCH_TABLES):
        return Path(given)
    target = tmp_path_factory.mktemp("tpch")
    generate(0.01, target)
    return target


@pytest.fixture(scope="session")
def split_data(tpch_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tables in files of several row groups, so that several tasks read each: a file of one is not divided."""
    target = tmp_path_factory.mktemp("split")
    for table in TPCH_TABLES:
        rows = pq.read_table(tpch_data / f"{table}.parquet")
        pq.write_table(rows, target / f"{table}.parquet", row_group_size=max(1, rows.num_rows // 4))
    return target
