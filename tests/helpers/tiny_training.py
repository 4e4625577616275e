"""A training of a few milliseconds, run as a program by the tests: WORK_DIR EPOCHS [--resume] [--without M,N].

`--without` makes the named modules impossible to import, as on a Python that does not have them.
"""

from __future__ import annotations

import argparse
import sys
from importlib.abc import MetaPathFinder
from typing import Any


class Absent(MetaPathFinder):
    """Makes modules impossible to import; it is first on `sys.meta_path`."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work_dir")
    parser.add_argument("epochs", type=int)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--without", default="")
    arguments = parser.parse_args()
    for name in filter(None, arguments.without.split(",")):
        for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[loaded]
    sys.meta_path.insert(0, Absent(arguments.without.split(",")))
    train(arguments.work_dir, epochs=arguments.epochs, resume=arguments.resume)


def train(work_dir: str, *, epochs: int, resume: bool) -> None:
    """Train mmdet's backbone and neck with mmengine's Runner, with everything that a checkpoint may hold."""
    import torch
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    import solo  # noqa: F401
    from solo.registry import DATASETS, MODELS

    torch.set_num_threads(1)

    @MODELS.register_module()
    class TinyModel(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = MODELS.build({"type": "mmdet.ResNet", "depth": 18, "base_channels": 4})
            neck = {"type": "mmdet.FPN", "in_channels": [4, 8, 16, 32], "out_channels": 4, "num_outs": 5}
            self.neck = MODELS.build(neck)

        def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> dict[str, Any]:
            return {"loss": self.neck(self.backbone(torch.stack(list(inputs))))[0].square().mean()}

    @DATASETS.register_module()
    class TinyDataset(torch.utils.data.Dataset):  # type: ignore[type-arg]
        metainfo = {"classes": ("a", "b")}  # noqa: RUF012

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.full((3, 32, 32), float(index)), 0

    Runner.from_cfg(
        {
            "default_scope": "solo",
            "work_dir": work_dir,
            "model": {"type": "TinyModel"},
            "train_dataloader": {
                "batch_size": 2,
                "dataset": {"type": "TinyDataset"},
                "sampler": {"type": "DefaultSampler", "shuffle": True},
            },
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
            "param_scheduler": [{"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 5}],
            "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": epochs},
            "custom_hooks": [{"type": "EMAHook"}],
            "visualizer": {
                "type": "mmengine.Visualizer",
                "vis_backends": [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}],
            },
            "resume": resume,
        }
    ).train()


if __name__ == "__main__":
    main()
