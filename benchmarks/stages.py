"""How long named parts of a computation take, by timers around its own functions."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from benchmarks.clock import now
from benchmarks.pairs import wait_for_device


class Timed(NamedTuple):
    """A function to put a timer around.

    Attributes:
        owner: the module, class or object that it is looked up in.
        name: its name there.
        stage: the stage that its time belongs to.
        within: it only counts while this stage runs; None for always.
    """

    owner: Any
    name: str
    stage: str
    within: str | None = None


class Stages:
    """Seconds by stage. A stage inside another one is no part of the outer one's time.

    At each border an accelerator is waited for, which takes time of its own: how long all stages take together has to
    be measured without this.

    Args:
        functions: those to time.

    Attributes:
        functions: those that are timed.
        seconds: of each stage since the last `reset`.
    """

    def __init__(self, functions: Sequence[Timed]) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.functions = list(functions)
        self._running: list[str] = []
        self._since = 0.0

    def reset(self) -> None:
        """Forget what was timed."""
        self.seconds.clear()

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Within it the functions are timed.

        Raises:
            AttributeError: an owner has no function of that name.
        """
        with ExitStack() as patches:
            for function in self.functions:
                timer = self._timer(getattr(function.owner, function.name), function.stage, function.within)
                patches.enter_context(mock.patch.object(function.owner, function.name, timer))
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What runs within it belongs to the stage, but for the stages inside."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def _charge(self) -> None:
        wait_for_device()
        reached = now()
        if self._running:
            self.seconds[self._running[-1]] += reached - self._since
        self._since = reached

    def _timer(self, function: Callable[..., Any], stage: str, within: str | None) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def timed(*args: Any, **kwargs: Any) -> Any:
            if within is not None and (not self._running or self._running[-1] != within):
                return function(*args, **kwargs)
            with self.stage(stage):
                return function(*args, **kwargs)

        return timed
