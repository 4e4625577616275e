"""What a server accepts: sizes, numbers and times that protect it from any request."""

from __future__ import annotations

from dataclasses import dataclass

from solo.errors import ConfigError
from solo.images.reading import MAX_PIXELS

LOWEST_SCORE = 0.05
"""Detections below it are never sent; the page filters the others by itself."""


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Limits of a server. Memory for requests is at most `max_requests` bodies, and one image at a time is decoded.

    Attributes:
        max_upload_bytes: of the body of a request.
        max_pixels: of an image, read from its header before it is decoded.
        max_requests: requests that are received, wait or run at once; further ones are answered with 503.
        timeout: seconds from the first byte of a request until its result.

    Raises:
        ConfigError: a limit is not positive, or above what solo reads.
    """

    max_upload_bytes: int = 32 * 2**20
    max_pixels: int = 2**26
    max_requests: int = 32
    timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_upload_bytes", "max_pixels", "max_requests", "timeout"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.max_pixels > MAX_PIXELS:
            raise ConfigError(f"max_pixels must be at most {MAX_PIXELS}, got {self.max_pixels}")
