"""Rates of devices are measured, kept, and read again; a GPU is played by the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import pytest

from executor import device_rates
from executor.device_rates import Gpu, keep, known_rates, measure, measured_rates
from planner.devices import H100, DeviceRates, Rates, default_cpu

GPU = Gpu("Fake 9000", 8 * 2**30)


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake GPU, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(device_rates, "find_gpu", lambda: GPU)
    monkeypatch.setattr(device_rates, "_found", {})
    return tmp_path / "sqlray" / "devices.json"


def measured(device: str, name: str, memory: float) -> DeviceRates:
    rates = default_cpu(3) if device == "cpu" else H100
    return replace(rates, name=name, memory=memory)


def test_rates_are_positive() -> None:
    rates = asdict(measure("cpu", "here", 1e9, rows=20_000))
    assert rates.pop("name") == "here"
    assert rates.pop("upload") == rates.pop("download") == inf
    assert all(isfinite(v) and v > 0 for v in rates.values()), rates


def test_they_are_measured_once(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_rates, "measure", measured)
    guessed = known_rates()
    assert guessed is not None
    assert guessed.gpu == replace(H100, name=GPU.name, memory=GPU.memory)
    assert not gpu.exists()
    rates = measured_rates()
    assert rates is not None
    assert rates.cpu.decode == default_cpu(3).decode
    assert known_rates() == rates
    (key,) = json.loads(gpu.read_text())
    assert key.startswith("Fake 9000, ")
    device_rates._found.clear()  # another process
    monkeypatch.setattr(device_rates, "measure", None)
    assert known_rates() == measured_rates() == rates


def test_a_device_that_cannot_be_measured_keeps_its_guess(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fail(*args: object) -> DeviceRates:
        tries.append(args)
        raise MemoryError("out of memory")

    monkeypatch.setattr(device_rates, "measure", fail)
    assert measured_rates() is None
    assert measured_rates() is None
    assert len(tries) == 1
    assert known_rates() is not None
    assert not gpu.exists()


@pytest.mark.parametrize("text", ["", "[]", "5", '{"Fake 9000": 1}', "{"])
def test_a_file_of_something_else_is_replaced(text: str, gpu: Path) -> None:
    gpu.parent.mkdir()
    gpu.write_text(text)
    rates = Rates(default_cpu(1), H100)
    keep("one", rates)
    keep("two", rates)
    assert {"one", "two"} <= set(json.loads(gpu.read_text()))
    assert [p.name for p in gpu.parent.iterdir()] == [gpu.name]


def test_no_cache_is_no_error(gpu: Path) -> None:
    gpu.parent.write_text("a file where the directory should be")
    keep("one", Rates(default_cpu(1), H100))
    assert known_rates() is not None


class FakeNvml:
    """The library of the driver, with one GPU; the function named ``failing`` fails."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.asked: list[object] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            if name == self.failing:
                return 999
            if "GetHandle" in name:
                self.asked.append(arguments[0])
            elif name == "nvmlDeviceGetName":
                arguments[1].value = b"Fake 9000"
            elif name == "nvmlDeviceGetMemoryInfo":
                arguments[1]._obj[0] = 8 * 2**30
            return 0

        return call


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, 0), ("0", 0), ("3,1", 3), ("GPU-12ab", b"GPU-12ab"), ("MIG-1/2", b"MIG-1/2")]
)
def test_the_driver_tells_of_the_gpu(visible: str | None, asked: int | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    find_gpu = device_rates.find_gpu.__wrapped__  # without its memory
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = FakeNvml()
    monkeypatch.setattr(device_rates.ctypes, "CDLL", lambda name: nvml)
    assert find_gpu() == GPU
    assert nvml.asked == [asked]
    for name in ("nvmlInit_v2", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo"):
        monkeypatch.setattr(device_rates.ctypes, "CDLL", lambda _, name=name: FakeNvml(name))
        assert find_gpu() is None


def test_a_machine_without_nvml_has_no_gpu() -> None:
    if not Path("/dev/nvidia0").exists():
        assert device_rates.find_gpu() is None
        assert known_rates() is measured_rates() is None
