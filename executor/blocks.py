"""Blocks: the rows that move between stages, in memory or spilled to Arrow IPC files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import polars as pl
import pyarrow as pa

from executor import device_frames
from executor.device_frames import DeviceFrame
from executor.dtypes import polars_dtype
from planner.errors import ExecutionError
from planner.expr import Schema, column_name

Computed: TypeAlias = "pl.DataFrame | DeviceFrame"
"""What a fragment gives: batches in the host's memory, or all of its rows at once on the GPU that ran it."""

Held: TypeAlias = "pl.DataFrame | pa.Table"
"""Rows in memory. Those of a shuffle are Arrow tables, made by ``to_block``: a frame that was cut from another shares
the buffers of its strings, and keeps all of them in memory."""


@dataclass(slots=True, eq=False)
class StoredBlock:
    """Some rows: in memory, on the GPU that computed them, or in the file that they were spilled to."""

    rows: int
    bytes: int
    held: Held | DeviceFrame | None
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

    def put(self, rows: Held | DeviceFrame) -> StoredBlock:
        """Keep some rows. Those on a GPU take nothing of the store's memory.

        Raises:
            ExecutionError: it had to be spilled and the disk is full or not writable.
        """
        if isinstance(rows, DeviceFrame):
            return StoredBlock(rows.rows, rows.bytes, rows)
        block = StoredBlock(rows.shape[0], held_bytes(rows), rows)
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
        block.held = None

    def _spill(self, block: StoredBlock) -> None:
        assert isinstance(block.held, (pl.DataFrame, pa.Table))
        try:
            if self._path is None:
                remove_abandoned(self.directory)
                self._path = Path(tempfile.mkdtemp(prefix=f"sqlray-{os.getpid()}-", dir=self.directory))
            path = self._path / f"{self._files}.arrow"
            self._files += 1
            _write(block.held, path)
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


def held_bytes(rows: Held | DeviceFrame) -> int:
    """What rows take in memory; of a frame an estimate, without the buffers that it shares."""
    match rows:
        case pl.DataFrame():
            return int(rows.estimated_size())
        case DeviceFrame():
            return rows.bytes
        case _:
            return int(rows.nbytes)


def height(rows: Computed) -> int:
    """How many rows there are."""
    return rows.rows if isinstance(rows, DeviceFrame) else rows.height


def join(parts: Sequence[Held]) -> Held:
    """The rows of one or several frames, or of tables, in order; nothing is copied."""
    if len(parts) == 1:
        return parts[0]
    return pl.concat(parts) if isinstance(parts[0], pl.DataFrame) else pa.concat_tables(parts)


def to_block(frame: pl.DataFrame) -> pa.Table:
    """A frame as it travels. Strings as LARGE_STRING: Ray copies views, and reads these in place."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def to_frame(block: pa.Table) -> pl.DataFrame:
    """A block's rows where they lie: put together, which is the default, they would be copied out of shared memory."""
    frame = pl.from_arrow(block, rechunk=False)
    assert isinstance(frame, pl.DataFrame)
    return frame


def lazy(blocks: Iterable[StoredBlock], schema: Schema) -> pl.LazyFrame:
    """The rows of blocks, in order, as one frame with the columns of ``schema``."""
    parts = [_lazy(block) for block in blocks]
    if not parts:
        return pl.LazyFrame(schema={column_name(f): polars_dtype(f.dtype) for f in schema})
    return parts[0] if len(parts) == 1 else pl.concat(parts)


def table(blocks: Iterable[StoredBlock]) -> pa.Table:
    """The rows of blocks, of one at least, as they travel."""
    tables = [b.held if isinstance(b.held, pa.Table) else to_block(_lazy(b).collect()) for b in blocks]
    return join(tables)


def _lazy(block: StoredBlock) -> pl.LazyFrame:
    match block:
        case StoredBlock(held=pl.DataFrame() as frame):
            return frame.lazy()
        case StoredBlock(held=pa.Table() as rows):
            return to_frame(rows).lazy()
        case StoredBlock(held=DeviceFrame() as rows):
            return device_frames.scan(rows)
        case StoredBlock(path=Path() as path):
            return pl.scan_ipc(path)
        case _:
            raise ExecutionError("a block was read after it was freed")


def _write(rows: Held, path: Path) -> None:
    if isinstance(rows, pl.DataFrame):
        rows.write_ipc(path, compression="uncompressed")
        return
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)
