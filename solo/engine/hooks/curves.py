"""A picture of the training at its end."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from solo.registry import HOOKS


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draw losses, learning rate and AP of the work folder's runs into `curves.png` when training ends.

    The scalars come from the files that `LocalVisBackend` writes; without that backend nothing is drawn and the log
    says so.
    """

    priority = "VERY_LOW"

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Draw."""
        from solo.engine.training_curves import plot_curves  # matplotlib takes a second to import

        picture = plot_curves(runner.work_dir, Path(runner.work_dir) / "curves.png")
        if picture is None:
            runner.logger.warning(f"{runner.work_dir}: no scalars were recorded, so no curves are drawn")
        else:
            runner.logger.info(f"Curves of losses, learning rate and AP: {picture}")
