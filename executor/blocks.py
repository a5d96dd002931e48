"""Blocks: the rows that move between stages, in memory or spilled to Arrow IPC files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from executor.dtypes import polars_dtype
from planner.errors import ExecutionError
from planner.expr import Schema, column_name


@dataclass(slots=True, eq=False)
class StoredBlock:
    """Some rows: a frame in memory, or the file that they were spilled to."""

    rows: int
    bytes: int
    frame: pl.DataFrame | None
    path: Path | None = None


@dataclass(slots=True)
class BlockStore:
    """Holds the blocks of one query. Those over ``limit`` bytes go to disk, the oldest first.

    The directory is made when the first block is spilled, and ``close`` removes it. A directory left by a process that
    was killed is removed by the next store made in the same place.
    """

    limit: int
    directory: str
    spilled_bytes: int = 0
    _resident: dict[int, StoredBlock] = field(default_factory=dict)
    _resident_bytes: int = 0
    _path: Path | None = None
    _files: int = 0

    @classmethod
    def within(cls, memory_limit: int, directory: str) -> BlockStore:
        """The store of a query or task that may use ``memory_limit`` bytes: operators get the other three quarters."""
        return cls(max(memory_limit // 4, 1), directory)

    def put(self, frame: pl.DataFrame) -> StoredBlock:
        """Keep a frame.

        Raises:
            ExecutionError: it had to be spilled and the disk is full or not writable.
        """
        block = StoredBlock(frame.height, int(frame.estimated_size()), frame)
        self._resident[id(block)] = block
        self._resident_bytes += block.bytes
        while self._resident_bytes > self.limit and self._resident:
            self._spill(next(iter(self._resident.values())))
        return block

    def free(self, blocks: Iterable[StoredBlock]) -> None:
        """Forget blocks that no stage reads any more."""
        for block in blocks:
            self._evict(block)
            if block.path is not None:
                block.path.unlink(missing_ok=True)
                block.path = None

    def close(self) -> None:
        """Forget everything and remove the files."""
        self._resident.clear()
        self._resident_bytes = 0
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None

    def _evict(self, block: StoredBlock) -> None:
        if self._resident.pop(id(block), None) is not None:
            self._resident_bytes -= block.bytes
        block.frame = None

    def _spill(self, block: StoredBlock) -> None:
        assert block.frame is not None
        try:
            if self._path is None:
                remove_abandoned(self.directory)
                self._path = Path(tempfile.mkdtemp(prefix=f"sqlray-{os.getpid()}-", dir=self.directory))
            path = self._path / f"{self._files}.arrow"
            self._files += 1
            block.frame.write_ipc(path, compression="uncompressed")
        except OSError as error:
            raise ExecutionError(
                f"cannot spill {block.bytes / 1e6:.0f} MB to {self.directory}: {error.strerror or error}",
                hint="free space there, SET temp_directory to another place, or raise memory_limit",
            ) from None
        block.path = path
        self.spilled_bytes += block.bytes
        self._evict(block)


def remove_abandoned(directory: str) -> None:
    """Remove spill directories whose process is gone (it was killed before it could clean up)."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            parts = entry.name.split("-")
            if len(parts) >= 3 and parts[0] == "sqlray" and parts[1].isdigit() and not _alive(int(parts[1])):
                shutil.rmtree(entry.path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def lazy(blocks: Iterable[StoredBlock], schema: Schema) -> pl.LazyFrame:
    """The rows of blocks, in order, as one frame with the columns of ``schema``."""
    parts: list[pl.LazyFrame] = []
    for block in blocks:
        if block.frame is not None:
            parts.append(block.frame.lazy())
        elif block.path is not None:
            parts.append(pl.scan_ipc(block.path))
        else:
            raise ExecutionError("a block was read after it was freed")
    if not parts:
        return pl.LazyFrame(schema={column_name(f): polars_dtype(f.dtype) for f in schema})
    return parts[0] if len(parts) == 1 else pl.concat(parts)
