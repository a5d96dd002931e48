"""Makes the sample of SQLite's corpus that lies beside this file.

    python -m tests.slt.sample ../shared/slt/sqlite tests/slt/sqlite --bytes 90000

Every statement stays, so that the tables are the same; of the queries every n-th stays, as many as fit.
"""

import argparse
import re
from pathlib import Path


def sample_text(text: str, size: int) -> str:
    """A part of a sqllogictest file, at most about `size` characters of queries."""
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    queries = [at for at, block in enumerate(blocks) if re.search(r"^query ", block, re.MULTILINE)]
    total = sum(len(blocks[at]) for at in queries)
    step = max(1, -(-total // size))
    kept = set(queries[::step])
    dropped = set(queries) - kept
    return "\n\n".join(block for at, block in enumerate(blocks) if at not in dropped) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.slt.sample")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--bytes", type=int, default=90_000, help="queries kept of each file, in characters")
    given = parser.parse_args()
    for path in sorted(given.source.rglob("*.test")):
        target = given.target / path.relative_to(given.source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(sample_text(path.read_text(), given.bytes))


if __name__ == "__main__":
    main()
