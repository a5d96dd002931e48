"""TPC-H data: where it lies, and how it is generated."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from planner.errors import ExecutionError
from tpch_queries import TABLES

_INSTALL = 'pip install "sqlray[tpch]"'


def default_directory(scale: float) -> Path:
    """Where data of a scale factor lies unless a directory is given."""
    return Path("tpch-data") / f"sf{scale:g}"


def table_paths(directory: Path) -> dict[str, str]:
    """The path of each table in a directory: `lineitem.parquet`, or `lineitem/*.parquet`."""
    paths = {}
    for table in TABLES:
        file, parts = directory / f"{table}.parquet", directory / table
        if file.exists():
            paths[table] = str(file)
        elif parts.is_dir():
            paths[table] = str(parts / "*.parquet")
    missing = [table for table in TABLES if table not in paths]
    if missing:
        raise ExecutionError(
            f"there is no TPC-H data in '{directory}': no {', '.join(missing)}",
            hint=f"sqlray tpch generate --scale 1 --output {directory}",
        )
    return paths


def ensure_data(scale: float) -> Path:
    """The directory with data of a scale factor, generated if it is not there."""
    directory = default_directory(scale)
    if not directory.is_dir():
        print(f"generating scale factor {scale:g} in {directory}", file=sys.stderr)
        generate(scale, directory)
    return directory


def generate(scale: float, directory: Path) -> None:
    """Generate the eight tables as Parquet files. The directory appears once it is complete."""
    tool = Path(sys.executable).with_name("tpchgen-cli")
    command = str(tool) if tool.exists() else shutil.which("tpchgen-cli")
    if command is None:
        raise ExecutionError("tpchgen-cli, which generates TPC-H data, is not installed", hint=_INSTALL)
    if directory.exists() and any(directory.iterdir()):
        raise ExecutionError(f"'{directory}' is not empty", hint="remove it, or choose another with --output")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as partial:
            files = Path(partial) / "data"
            _run_generator(command, scale, files)
            if directory.exists():
                directory.rmdir()
            files.rename(directory)
    except OSError as error:
        raise ExecutionError(f"cannot write to '{directory}': {error.strerror}") from error


def _run_generator(command: str, scale: float, directory: Path) -> None:
    directory.mkdir()
    common = ["--scale-factor", f"{scale:g}", "--output-dir", str(directory)]
    # The format is a subcommand from version 4 on, and was an option before.
    outcome = subprocess.run([command, "parquet", *common], capture_output=True, text=True, check=False)
    if outcome.returncode == 2:
        outcome = subprocess.run([command, "--format", "parquet", *common], capture_output=True, text=True, check=False)
    if outcome.returncode:
        lines = outcome.stderr.strip().splitlines() or [f"exit status {outcome.returncode}"]
        raise ExecutionError(f"tpchgen-cli failed: {lines[-1]}")


def data_size(paths: dict[str, str]) -> int:
    """The bytes of all tables' files."""
    total = 0
    for path in map(Path, paths.values()):
        files = path.parent.glob(path.name) if "*" in path.name else [path]
        total += sum(file.stat().st_size for file in files)
    return total
