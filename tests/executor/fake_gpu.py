"""A GPU without one: what it would run, Polars runs on the CPU, so that the GPU's forms of expressions are run too."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from executor import device_frames, devices, residents
from executor.device_frames import DeviceFrame, DeviceTimes, Fragment


class FakeGpu:
    """Takes the place of `device_frames`: rows "on the device" are a Polars frame.

    Plans fail with ``error``, all or every so many, before their work or (``late``) after it. An upload beyond
    ``memory`` bytes fails too.
    """

    def __init__(
        self, error: Exception | None = None, every: int = 1, late: bool = False, memory: float = float("inf")
    ) -> None:
        self.error = error
        self.every = every
        self.late = late
        self.memory = memory
        self.plans = 0
        self.uploads: list[str] = []  # columns
        self.loads: list[str] = []  # of files
        self.downloads = 0  # but not those that stand for reading rows on the device
        self._runs = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
        """Make this the GPU of this process."""
        residents.clear()
        monkeypatch.setattr(devices, "gpu_absence", lambda: None)
        for function in ("run", "load", "upload", "download", "select", "side_by_side", "pieces", "device_memory"):
            monkeypatch.setattr(device_frames, function, getattr(self, function))
        return self

    def run(self, fragment: Fragment, flags: pl.QueryOptFlags, times: DeviceTimes) -> DeviceFrame:
        self.plans += 1
        fails = self.error is not None and self.plans % self.every == 0
        if fails and not self.late:
            raise self.error
        times.kernels += 1.5
        self._runs = True
        rows = fragment.lazy.collect(engine="streaming", optimizations=flags)
        self._runs = False
        if fails:
            raise self.error
        return _held(rows)

    def load(self, lazy: pl.LazyFrame) -> DeviceFrame:
        rows = lazy.collect()
        self.loads += rows.columns
        if rows.estimated_size() > self.memory:
            raise MemoryError("std::bad_alloc: out_of_memory: CUDA error")
        return _held(rows)

    def upload(self, frame: pl.DataFrame) -> DeviceFrame:
        self.uploads += frame.columns
        if frame.estimated_size() > self.memory:
            raise MemoryError("std::bad_alloc: out_of_memory: CUDA error")
        return _held(frame)

    def download(self, frame: DeviceFrame, times: DeviceTimes | None = None) -> pl.DataFrame:
        self.downloads += not self._runs
        assert isinstance(frame.held, pl.DataFrame)
        return frame.held

    def select(self, frame: DeviceFrame, names: Sequence[str]) -> DeviceFrame:
        return _held(frame.held.select(names))

    def side_by_side(self, frames: Sequence[DeviceFrame], rows: int) -> DeviceFrame:
        return _held(pl.concat([f.held for f in frames], how="horizontal") if frames else pl.DataFrame(height=rows))

    def pieces(self, frame: DeviceFrame, ranges: Sequence[tuple[int, int]]) -> DeviceFrame:
        return _held(pl.concat([frame.held.slice(*r) for r in ranges] or [frame.held.clear()]))

    def device_memory(self) -> int:
        return 1 << 40 if self.memory == float("inf") else int(self.memory)


def _held(rows: pl.DataFrame) -> DeviceFrame:
    return DeviceFrame(rows.height, int(rows.estimated_size()), rows.schema, rows)
