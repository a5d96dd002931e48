"""The connection of this process to a Ray cluster, which its sessions share."""

from __future__ import annotations

import logging
import os
import socket
import threading

import ray
from ray.exceptions import RayError

from planner.errors import ExecutionError

_PATIENCE = 10.0  # seconds for a cluster to answer at its address


class Connection:
    """Is there as long as a session needs it. What the first of them connected to (or started) ends with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions = 0
        self._ours = False

    def open(self, address: str | None) -> None:
        """Connect for a session, unless this process is connected.

        Args:
            address: see ``RayBackend``.

        Raises:
            ExecutionError: there is no cluster at ``address``.
        """
        with self._lock:
            if not ray.is_initialized():
                try:
                    _knock(address or os.environ.get("RAY_ADDRESS"))
                    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
                except (OSError, ValueError, RuntimeError, RayError) as error:
                    where = address or os.environ.get("RAY_ADDRESS") or "auto"
                    raise ExecutionError(
                        f"cannot connect to a Ray cluster at {where}: {str(error).splitlines()[0]}",
                        hint="start one with `ray start --head`, or leave the address out for one on this machine",
                    ) from None
                self._ours = True
            self._sessions += 1

    def close(self) -> None:
        """A session has ended."""
        with self._lock:
            self._sessions -= 1
            if self._sessions == 0 and self._ours:
                self._ours = False
                ray.shutdown()


CONNECTION = Connection()
"""There is one: ray connects a process, not a session."""


def _knock(address: str | None) -> None:
    """See whether somebody listens at ``host:port`` or ``ray://host:port``: ray.init tries for minutes.

    Raises:
        OSError: nobody does.
    """
    host, separator, port = (address or "").removeprefix("ray://").rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
