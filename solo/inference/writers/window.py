"""A window that shows the drawn frames while they are predicted."""

from __future__ import annotations

import importlib
from typing import Any

import cv2

from solo.errors import OutputError, printable
from solo.inference.instances import Instances
from solo.inference.sources.frames import Frame
from solo.inference.visualization import legible_magnification

TITLE = "solo"
SHARE_OF_SCREEN = 0.9


class Window:
    """Shows each frame, reduced to the screen. Closing it, `q` or Escape ends the prediction.

    It is made of tkinter: OpenCV, as it is installed with solo, has no windows.

    Attributes:
        is_open: False once the user has closed the window.
    """

    def __init__(self) -> None:
        """Open the window.

        Raises:
            OutputError: there is no display, or Python has no tkinter.
        """
        self.is_open = True
        try:
            self._tkinter: Any = importlib.import_module("tkinter")
        except ImportError:
            raise OutputError("--show needs tkinter, which this Python lacks (Debian: python3-tk)") from None
        try:
            self._root = self._tkinter.Tk()
        except self._tkinter.TclError as error:
            raise OutputError(f"--show needs a display: {error}") from None
        self._root.title(TITLE)
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda event: self._end())
        self._label = self._tkinter.Label(self._root)
        self._label.pack()

    def write(self, frame: Frame, instances: Instances) -> None:
        """Show a frame; files that are read by windows are not shown."""
        if frame.is_large:
            return
        drawn = instances.plot(frame.image, score_thr=0.0, magnify=legible_magnification(*instances.image_size))
        limits = self._root.winfo_screenheight(), self._root.winfo_screenwidth()
        scale = min(1.0, *(SHARE_OF_SCREEN * limit / side for limit, side in zip(limits, drawn.shape, strict=False)))
        if scale < 1:
            drawn = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        # Tk reads PPM fastest; it keeps no reference of its own to the image.
        self._image = self._tkinter.PhotoImage(data=cv2.imencode(".ppm", drawn)[1].tobytes(), format="PPM")
        self._label.configure(image=self._image)
        self._root.title(f"{TITLE}: {printable(frame.path)}")
        self._root.update()

    def close(self) -> None:
        """Close the window."""
        self._root.destroy()

    def _end(self) -> None:
        self.is_open = False
