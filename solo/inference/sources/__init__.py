"""What is predicted: image files, videos, cameras and streams, as one sequence of frames."""

from solo.inference.sources.frames import Frame, SourceReport
from solo.inference.sources.source import Source, open_source

__all__ = ["Frame", "Source", "SourceReport", "open_source"]
