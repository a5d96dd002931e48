"""The option `--ray` of the command."""

from __future__ import annotations

import argparse

from sqlray import session


def add_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on a Ray cluster: the one at ADDRESS, else the one that runs here, else a new one on this machine",
    )


def connect(ray: str | None) -> session.Session:
    """A session as `--ray` says: in this process without it, else on the cluster at that address (empty: any)."""
    return session.connect() if ray is None else session.connect("ray", address=ray or None)
