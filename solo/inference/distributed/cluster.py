"""The Ray instance that `solo predict --ray` starts or joins, and the room that it has for actors."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from solo.errors import ConfigError, printable
from solo.inference.distributed.shards import import_from_extra

LOCAL, RUNNING = "local", "auto"
_OBJECT_STORE_BYTES = 128 * 2**20  # names and counts go through it, no image
_CONNECT_SECONDS = 5
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_STARTS = 3  # Ray waits 30 seconds for itself, which is too short on a machine that is busy
_QUIET: dict[str, Any] = dict(log_to_driver=False, logging_level=logging.ERROR)


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Where the actors run.

    Attributes:
        address: "local" for an instance of Ray in this command, "auto" for the one that runs on this machine, or
            HOST:PORT.
        actors: most of them; None for as many as the cluster has room for.
        cpus: CPUs of each, which are its threads too.
        gpus: GPUs of each, or a fraction of one; None for a whole one where there are GPUs.
    """

    address: str = LOCAL
    actors: int | None = None
    cpus: int = 1
    gpus: float | None = None


def find_room(ray: Any, options: RayOptions, *, device: str) -> tuple[float, int]:
    """GPUs of an actor, and the number of actors.

    Raises:
        ConfigError: no node has room for one, and no number of them was given for which an autoscaler would make room.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = options.gpus
    if gpus is None:
        gpus = float(device != "cpu" and any(node.get("GPU", 0) >= 1 for node in nodes))
    room = sum(
        int(min(node.get("CPU", 0) / options.cpus, node.get("GPU", 0) / gpus if gpus else 1e9) + 1e-6) for node in nodes
    )
    if not room and (options.actors is None or options.address == LOCAL):
        raise ConfigError(
            f"no node of the Ray cluster has {options.cpus} CPUs and {gpus:g} GPUs for an actor; --ray-cpus and "
            "--ray-gpus ask for less"
        )
    return gpus, options.actors or room


def _import_ray(address: str) -> Any:
    """Import Ray so that it reports to nobody and, unless it joins a cluster, listens on the loopback alone.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:
        # Despite its name it decides everywhere whether a node has the loopback's address; read by the import.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of its C++ parts, which write to stderr
    return import_from_extra("ray")


@contextlib.contextmanager
def connected(options: RayOptions, *, num_shards: int) -> Iterator[Any]:
    """Start or join Ray for a block, which gets the module.

    Raises:
        ConfigError: Ray is not installed, or there is none at the address.
    """
    if options.address != LOCAL:
        _check_address(options.address)
    ray = _import_ray(options.address)
    try:
        if options.address == LOCAL:
            _start(ray, options, num_shards=num_shards)
        else:
            ray.init(address=options.address, **_QUIET)
    except Exception as error:  # Ray raises plain ones too
        reason = printable(" ".join(str(error).split()))[:300]
        raise ConfigError(f"--ray {printable(options.address)}: {reason}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, options: RayOptions, *, num_shards: int) -> None:
    wanted = options.cpus * min(options.actors or 1, num_shards)
    cpus = max(len(os.sched_getaffinity(0)), wanted)
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(
                address=LOCAL,
                num_cpus=cpus,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                **_QUIET,
            )
            return
        except Exception:
            ray.shutdown()
            if attempt == _STARTS:
                raise


def _check_address(address: str) -> None:
    """Find out whether somebody listens: Ray itself tries for minutes and ends the process."""
    if address == RUNNING:
        return
    match = re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", address)
    if match is None:
        raise ConfigError(
            f"--ray {printable(address)}: expected local, auto or HOST:PORT; sources stand before --ray, or after "
            "--ray=local"
        )
    host, port = match[1].strip("[]"), int(match[2])
    _knock(host, port, address=address)
    if host in _LOOPBACK:  # Ray takes the address of the node instead
        _knock(_import_ray(address).util.get_node_ip_address(), port, address=address)


def _knock(host: str, port: int, *, address: str) -> None:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray {address}: no Ray cluster answers at {host}, port {port}: {error}") from None
