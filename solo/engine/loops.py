"""The training loop by epochs, which can go on in the middle of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from mmengine.runner import EpochBasedTrainLoop

from solo.engine.hooks.stop_signals import StopSignalsHook
from solo.registry import LOOPS


class SkippableBatches:
    """A batch sampler that can leave out its first batches once, without anything of them being loaded.

    Args:
        batches: the batch sampler.
    """

    def __init__(self, batches: Iterable[list[int]]) -> None:
        self.batches = batches
        self.skip = 0

    def __iter__(self) -> Iterator[list[int]]:
        # Runs when the first batch is asked for: a loader may begin an iteration that it then drops.
        skip, self.skip = self.skip, 0
        yield from islice(iter(self.batches), skip, None)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


@LOOPS.register_module(name="EpochBasedTrainLoop")
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, which repeats an epoch from its first batch when it is resumed in its middle; this one goes on.

    The order of the batches and the draws of each image depend on seed, epoch and index alone, so what is left of the
    epoch is what an uninterrupted training would have seen.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batches = SkippableBatches(self.dataloader.batch_sampler)
        # A loader refuses a new batch sampler; this one gives the same batches.
        object.__setattr__(self.dataloader, "batch_sampler", self._batches)

    def run_epoch(self) -> None:
        """Iterate what is left of the epoch."""
        done = self._iter - self._epoch * len(self.dataloader)
        self._batches.skip = done
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for batch_idx, data_batch in enumerate(self._loaded_batches(), start=done):
            self.run_iter(batch_idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _loaded_batches(self) -> Iterator[Any]:
        """The loader's batches; when its workers are gone because the training was asked to stop, it stops well."""
        try:
            yield from self.dataloader
        except RuntimeError:
            for hook in self.runner.hooks:
                if isinstance(hook, StopSignalsHook):
                    hook.stop_between_steps(self.runner)
            raise
