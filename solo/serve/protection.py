"""Protection of browsers: which hosts and pages may talk to a server, and what its page may do."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens at `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Protection:
    """ASGI middleware: refuses foreign Host and Origin headers, and adds `SECURITY_HEADERS` to every response.

    A page of another site can have its name resolve to 127.0.0.1 (DNS rebinding), or send requests to a server on this
    machine; browsers state the page in these headers. Programs send no Origin.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None) -> None:
        """Wrap an application.

        Args:
            app: the application.
            hosts: names that requests may use for the server, without port; None for all.
        """
        self._app = app
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._problem(Headers(scope=scope))
        app: Any = self._app if problem is None else JSONResponse({"detail": problem}, 403)
        await app(scope, receive, send_protected)

    def _problem(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and _host_name(f"//{host}") not in self._hosts:
            return "this server is not known under the name in the Host header; solo serve --allow-host adds names"
        # A browser behind a proxy names the proxy, which is among the hosts or passes its own name on.
        if origin is None or urlsplit_or_none(origin) == urlsplit_or_none(f"//{host}"):
            return None
        if self._hosts is not None and _host_name(origin) in self._hosts - set(LOOPBACK_NAMES):
            return None
        return "requests of other web pages are refused"


def _host_name(url: str) -> str | None:
    """The name or address in a URL, without port; None when there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def urlsplit_or_none(url: str) -> str | None:
    """Host and port of a URL; None when there is none, which equals no other URL's."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return None
