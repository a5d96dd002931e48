"""``python -m tests.golden.regenerate``: write the golden plans anew. The diff is what one reads.

``python -m tests.golden.regenerate DIRECTORY`` first takes the statistics anew from TPC-H at scale factor 1
there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from executor.sources.files import open_files
from tests.conftest import TPCH_TABLES
from tests.golden import placement
from tests.golden.plans import path, text
from tests.golden.tables import scaled_tables, tpch_tables, write_statistics


def main(arguments: list[str]) -> None:
    if arguments:
        directory = Path(arguments[0])
        write_statistics({name: open_files(str(directory / f"{name}.parquet")) for name in TPCH_TABLES})
        tpch_tables.cache_clear()
        scaled_tables.cache_clear()
    for number in range(1, 23):
        path(number).write_text(text(number))
    for name in placement.DEVICES:
        placement.path(name).write_text(placement.text(name))


if __name__ == "__main__":
    main(sys.argv[1:])
