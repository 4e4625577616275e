"""Runs the application until Ctrl-C or SIGTERM."""

from __future__ import annotations

import socket
from collections.abc import Collection

import uvicorn
from fastapi import FastAPI

from solo.errors import UserError, printable
from solo.serve.protection import LOOPBACK_NAMES, is_loopback


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a server.

    Args:
        host: name or address.
        port: 0 lets the system choose.

    Raises:
        UserError: the port is in use, or the address is not one of this machine.
    """
    if not 0 <= port < 2**16:  # getaddrinfo would take the rest of a division
        raise UserError(f"--port {port}: expected a number from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {printable(host)} --port {port}: {_reason(error)}") from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise UserError(
            f"--host {printable(host)} --port {port}: {_reason(error)}; --port chooses another one, 0 any free one"
        ) from None
    return opened


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def allowed_hosts(host: str, added: Collection[str]) -> list[str] | None:
    """Names that requests may use: those of this machine where only it is served, and those that were added.

    Returns:
        None, for all, where other machines are served and no name was added.
    """
    if is_loopback(host):
        return [*LOOPBACK_NAMES, host, *added]
    return [*LOOPBACK_NAMES, host, *added] if added else None


def url_of(opened: socket.socket) -> str:
    """The URL of a server that listens at a socket."""
    host, port = opened.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run_app(app: FastAPI, opened: socket.socket) -> None:
    """Serve until the process is told to end; running requests are finished first."""
    # Its own configuration of logging would close the files of all other loggers of the process.
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=15
    )
    uvicorn.Server(config).run(sockets=[opened])
