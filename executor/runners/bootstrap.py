"""What runs in a worker that has no sqlray, and how it gets it: this module is sent by value and needs nothing but the
standard library."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("planner", "executor", "sqlray", "tpch_queries")
_SUFFIXES = (".py", ".sql")


def package_files(root: Path) -> list[Path]:
    """The files of the four packages below ``root``, relative to it."""
    return sorted(
        p.relative_to(root) for name in NAMES for p in (root / name).rglob("*") if p.suffix in _SUFFIXES
    )


def digest(root: Path) -> str:
    """What tells one state of the packages from another."""
    found = hashlib.sha256()
    for path in package_files(root):
        found.update(path.as_posix().encode() + b"\0" + (root / path).read_bytes())
    return found.hexdigest()[:16]


def pack(root: Path) -> bytes:
    """The packages as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in package_files(root):
            archive.write(root / path, path.as_posix())
    return buffer.getvalue()


def install(expected: str, archive: bytes) -> None:
    """Make this process import the packages with the digest ``expected``, unpacked once a machine."""
    if "executor.runners.worker" in sys.modules:
        return
    found = importlib.util.find_spec("executor")
    if found is not None and found.origin is not None and digest(Path(found.origin).parents[1]) == expected:
        return
    home = Path(tempfile.gettempdir()) / f"sqlray-packages-{os.getuid()}-{expected}"
    if not home.exists():
        unpacked = Path(tempfile.mkdtemp(prefix="sqlray-packages-"))
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(unpacked)
        try:
            unpacked.rename(home)  # whole or not at all: other workers of this machine may do the same now
        except OSError:
            shutil.rmtree(unpacked, ignore_errors=True)
    for name in [m for m in sys.modules if m.split(".")[0] in NAMES]:
        del sys.modules[name]
    sys.path.insert(0, str(home))
    importlib.invalidate_caches()


def shape(block: Any) -> tuple[int, int, Any]:
    """Rows, bytes and schema of an Arrow table."""
    return block.num_rows, block.nbytes, block.schema


def free_cpus() -> float:
    """The most CPUs that a node of the cluster has free. ray.data asks so too: there is no public form."""
    nodes = importlib.import_module("ray._private.state").available_resources_per_node()
    return max((float(n.get("CPU", 0.0)) for n in nodes.values()), default=0.0)


def run_in_worker(expected: str, archive: bytes, threads: int, function: str, *arguments: Any) -> Iterator[Any]:
    """A function of ``executor.runners.worker`` in a process of a cluster.

    Args:
        expected, archive: the driver's packages.
        threads: how many the kernels use, if they have not started in this process.
    """
    if "polars" not in sys.modules:
        os.environ["POLARS_MAX_THREADS"] = str(threads)
    install(expected, archive)
    worker = importlib.import_module("executor.runners.worker")
    yield from getattr(worker, function)(*arguments)
