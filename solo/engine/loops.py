"""Epoch-based and iteration-based training loops that resume in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from solo.datasets.seeding import batch_numbered
from solo.engine.hooks.curves import read_records
from solo.engine.resume import depends_on_metrics
from solo.errors import DataError
from solo.registry import LOOPS

NO_BATCH = "the training data has no batch: fewer images than batch_size, and drop_last=True"


class SkippableBatches:
    """A batch sampler that skips its first `skip` batches once, without loading them."""

    def __init__(self, batches: Iterable[list[int]]) -> None:
        self.batches = batches
        self.skip = 0

    def __iter__(self) -> Iterator[list[int]]:
        # Runs when the first batch is requested: a loader may create an iterator that it does not use.
        skip, self.skip = self.skip, 0
        yield from islice(iter(self.batches), skip, None)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


class EndlessBatches(SkippableBatches):
    """A batch sampler repeated without end; `set_epoch` is called before each pass.

    Each index comes with the number of its batch in the training, from 0: (number, index).
    """

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:  # type: ignore[override]
        skip, self.skip = self.skip, 0
        for number, indices in islice(enumerate(self._passes()), skip, None):
            yield [(number, index) for index in indices]

    def _passes(self) -> Iterator[list[int]]:
        set_epoch = getattr(getattr(self.batches, "sampler", None), "set_epoch", None)
        for epoch in count():
            if set_epoch is not None:
                set_epoch(epoch)
            is_empty = True
            for indices in self.batches:
                is_empty = False
                yield indices
            if is_empty:
                raise DataError(NO_BATCH)


class NumberedSamples:
    """A dataset for `EndlessBatches`: random transforms are seeded by the number of the batch instead of the epoch."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, numbered_index: tuple[int, int]) -> Any:
        number, index = numbered_index
        with batch_numbered(number):
            return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not set yet while the object is unpickled in a worker
            raise AttributeError(name)
        return getattr(self.dataset, name)


@LOOPS.register_module(name="EpochBasedTrainLoop")
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, but a resumed training continues in the middle of an epoch instead of repeating it.

    The order of the batches and the random transforms depend on seed, epoch and index alone, so the rest of the epoch
    is what an uninterrupted training would have seen.

    Attributes:
        epoch_length: steps per epoch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batches = SkippableBatches(self.dataloader.batch_sampler)
        _replace(self.dataloader, batch_sampler=self._batches)
        self.epoch_length = len(self.dataloader)
        self._is_resumed = False

    def resume_at(self, epoch: int, step: int, *, epoch_length: int | None) -> None:
        """Continue at an epoch and a fraction of it, whatever the number of batches per epoch is now.

        Args:
            epoch: completed epochs.
            step: completed steps of the saved training.
            epoch_length: its steps per epoch, 0 if it had no epochs, None if unknown (as now).

        Raises:
            ValueError: the step does not lie in the epoch, or the saved training had no epochs.
        """
        now = self.epoch_length
        before = now if epoch_length is None else epoch_length
        done = step - epoch * before
        if not before:
            raise ValueError("it is of a training by iterations, the config trains by epochs")
        if not 0 <= done <= before:
            raise ValueError(f"its step {step} is not in its epoch {epoch + 1} of {before} steps")
        self._epoch, self._iter, self._is_resumed = epoch, epoch * now + done * now // before, True
        if now != before:
            self.runner.logger.warning(
                f"An epoch has {now} steps now and had {before}: the training continues after step {self._iter}, "
                f"{done / before:.0%} of epoch {epoch + 1}"
            )

    def run(self) -> Any:
        """Train up to the last epoch and return the model."""
        if not self.epoch_length:
            raise DataError(NO_BATCH)
        self._decide_current_val_interval()
        lacks_validation = self._is_resumed and self._is_time_to_validate() and self._lacks_validation()
        if self._epoch >= self._max_epochs and not lacks_validation:
            return _already_finished(self.runner, f"{self._epoch} of {self._max_epochs} epochs", "max_epochs")
        self.runner.message_hub.update_info("epoch_length", self.epoch_length)
        self.runner.call_hook("before_train")
        if lacks_validation:
            self.runner.logger.info(f"Epoch {self._epoch} was not validated before its checkpoint was saved")
            self.runner.val_loop.run()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self._is_time_to_validate():
                self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train on the rest of the epoch."""
        done = self._iter - self._epoch * self.epoch_length
        self._batches.skip = done
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for batch_idx, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(batch_idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        expected = self._epoch * self.epoch_length
        if self._iter != expected:
            raise DataError(f"epoch {self._epoch} ended after step {self._iter}, expected {expected}")

    def _is_time_to_validate(self) -> bool:
        epoch = self._epoch
        if self.runner.val_loop is None or epoch < self.val_begin or self._iter != epoch * self.epoch_length:
            return False
        return epoch % self.val_interval == 0 or epoch == self._max_epochs

    def _lacks_validation(self) -> bool:
        """Whether the last epoch has to be validated again.

        Either the work folder has records of the training but not of that validation, or a schedule depends on metrics:
        the checkpoint was saved before the validation, and without the schedule's step after it.
        """
        if self._epoch < self._max_epochs and depends_on_metrics(self.runner):
            return True
        return _lacks_record(self.runner, step=self._epoch)


@LOOPS.register_module(name="IterBasedTrainLoop")
class ResumableIterationLoop(IterBasedTrainLoop):
    """mmengine's loop, but a resumed training skips the batches that it has seen without loading them.

    A finite loader is repeated without restarting its workers. The order of the batches and the random transforms
    depend on seed, iteration and index alone, not on the number of workers.

    Attributes:
        epoch_length: 0, since schedulers by epoch step at the end of the training only.
    """

    epoch_length = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batches = EndlessBatches(self.dataloader.batch_sampler)
        _replace(self.dataloader, batch_sampler=self._batches, dataset=NumberedSamples(self.dataloader.dataset))
        self.dataloader_iterator: Any = None
        self._is_resumed = False

    def resume_at(self, epoch: int, step: int, *, epoch_length: int | None) -> None:
        """Continue after a step, whatever the number of batches per pass over the data is now.

        Raises:
            ValueError: the saved training was one by epochs.
        """
        if epoch_length and epoch:
            raise ValueError("it is of a training by epochs, the config trains by iterations")
        self._epoch, self._iter, self._is_resumed = epoch, step, True

    def run(self) -> Any:
        """Train up to the last iteration and return the model."""
        lacks_validation = self._is_resumed and self._is_time_to_validate()
        lacks_validation = lacks_validation and _lacks_record(self.runner, step=self._iter)
        if self._iter >= self._max_iters and not lacks_validation:
            return _already_finished(self.runner, f"{self._iter} of {self._max_iters} iterations", "max_iters")
        self.runner.message_hub.update_info("epoch_length", self.epoch_length)
        self.runner.call_hook("before_train")
        if lacks_validation:
            self.runner.logger.info(f"Iteration {self._iter} was not validated before its checkpoint was saved")
            self.runner.val_loop.run()
        self.runner.call_hook("before_train_epoch")
        self._batches.skip = self._iter
        self.dataloader_iterator = _generate(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if self._is_time_to_validate():
                self.runner.val_loop.run()
        self.dataloader_iterator.close()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _is_time_to_validate(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters


def _lacks_record(runner: Runner, *, step: int) -> bool:
    """Whether the work folder has records of the training, but none of the validation at an epoch or iteration."""
    records = read_records(runner.work_dir)
    answer = [bool(records.train) and all(record.get("step") != step for record in records.val)]
    broadcast_object_list(answer)
    return answer[0]


def _already_finished(runner: Runner, done: str, option: str) -> Any:
    runner.logger.info(
        f"The training is finished, nothing to do: {done} are done. train_cfg.{option} sets their number"
    )
    return runner.model


def _replace(dataloader: Any, **parts: Any) -> None:
    """Set attributes that torch's loader does not allow to be set; the replacements give the same samples."""
    for name, part in parts.items():
        object.__setattr__(dataloader, name, part)


def _generate(dataloader: Any) -> Iterator[Any]:
    """Iterate a loader by a generator, whose `close` also ends the loader's workers."""
    yield from dataloader
