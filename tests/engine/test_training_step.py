"""A training step on torch's "meta" device: no value is read and no copy blocks, so the CPU never waits.

The meta device has shapes but no values, so every read of a value is an error; here an operation that mixes devices is
one too. The tests check that copies are requested as non-blocking, not what a GPU does with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from solo.config import load_config
from solo.engine.hooks import DeferredRuntimeInfoHook
from solo.masks.instance_masks import InstanceMasks
from solo.registry import MODELS, SCOPE, TRANSFORMS
from tests.helpers.config_snapshots import skip_without_backbone
from tests.helpers.paths import CONFIGS
from tests.helpers.stand_in_device import DEVICE, without_autocast

ALL = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("[!_]*/*.py"))
# Of each kind of head, criterion, optimizer and convolution one; the others take minutes.
QUICK = {
    "nuclei/solov2-nano_nuclei.py",
    "solo/decoupled-solo_r50_fpn_1x_coco.py",
    "solo/solo_r50_fpn_1x_coco.py",
    "solov2/solov2-light_r50-dcn_fpn_ms-3x_coco.py",
    "solov2_paddle/solov2_r50-enhance_fpn_512-ms-3x_coco.py",
}


class Copies(TorchDispatchMode):
    """Context that records for each copy from the CPU to the device whether it is non-blocking.

    Other operations may take scalars from the CPU, but no tensors with axes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.non_blocking: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if name == "_to_copy":
            if args[0].device != result.device:
                self.non_blocking.append(kwargs.get("non_blocking", False))
        elif len({tensor.device for tensor in tensors if tensor.dim() or name == "copy_"}) > 1:
            assert name == "copy_", f"{func} of tensors on both devices"
            self.non_blocking.append(len(args) > 2 and args[2])
        return result


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The device of shapes; parts are looked up as a runner does."""
    with without_autocast(), DefaultScope.overwrite_default_scope(SCOPE):
        yield DEVICE


def sample(config: Config, *, seed: int, num_objects: int) -> dict[str, Any]:
    """A sample with rectangles, packed as the config packs it."""
    random = np.random.default_rng(seed)
    bitmaps = np.zeros((num_objects, 160, 192), np.uint8)
    corners = random.integers(0, 100, (num_objects, 2))
    for bitmap, (x, y) in zip(bitmaps, corners, strict=True):
        bitmap[y : y + 50, x : x + 60] = 1
    results = dict(
        img=random.integers(0, 256, (160, 192, 3), np.uint8),
        gt_masks=InstanceMasks.from_bitmaps(bitmaps),
        gt_bboxes=np.hstack([corners, corners + np.array([60, 50])]),
        gt_bboxes_labels=random.integers(0, config.model.num_classes, num_objects),
    )
    dataset = config.train_dataloader.dataset
    return TRANSFORMS.build(dataset.get("dataset", dataset).pipeline[-1])(results)


def take_steps(model: nn.Module, wrapper: OptimWrapper, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Two steps, the norm of the gradients deferred as in training."""
    hub = SimpleNamespace(update_info=lambda *args: None)
    loader = SimpleNamespace(dataset=None)
    runner: Any = SimpleNamespace(
        optim_wrapper=wrapper, message_hub=hub, epoch=0, iter=0, max_epochs=1, max_iters=2, train_dataloader=loader
    )
    DeferredRuntimeInfoHook().before_train(runner)
    for _ in range(2):
        losses = model.train_step(batch, wrapper)
    return losses


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in ALL])
def test_no_value_is_read_and_no_copy_blocks(name: str, device: torch.device) -> None:
    skip_without_backbone(name)
    config = load_config(CONFIGS / name, overrides={"model.backbone.init_cfg": None})
    model = MODELS.build(config.model).to(device).train()
    samples = [sample(config, seed=seed, num_objects=count) for seed, count in enumerate((5, 0, 1))]
    batch = {key: [sample[key] for sample in samples] for key in ("inputs", "data_samples")}
    with Copies() as copies:
        losses = take_steps(model, build_optim_wrapper(model, config.optim_wrapper), batch)
    assert {"loss", "loss_cls", "loss_mask"} <= losses.keys()
    assert all(loss.device == device for loss in losses.values())
    assert len(copies.non_blocking) >= len(samples)
    assert all(copies.non_blocking)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_network_copies_nothing(name: str, device: torch.device) -> None:
    """The CPU can run ahead of the device."""
    config = load_config(CONFIGS / name, overrides={"model.backbone.init_cfg": None})
    model = MODELS.build(config.model).to(device).eval()
    with Copies() as copies, torch.no_grad():
        outputs = model(torch.ones(2, 3, 96, 128, device=device))
    assert outputs.cls_logits.device == device
    assert copies.non_blocking == []


@pytest.mark.parametrize("look", [float, bool, torch.nonzero, lambda values: values[values > 0]])
def test_the_device_shows_no_value(look: Any, device: torch.device) -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)meta"):
        look(torch.ones(1, device=device))


def test_a_copy_that_blocks_is_seen(device: torch.device) -> None:
    with Copies() as copies:
        torch.ones(1).to(device)
        torch.ones(1, device=device).copy_(torch.ones(1))
        torch.ones(1).to(device, non_blocking=True)
        torch.ones(1, device=device).copy_(torch.ones(1), non_blocking=True)
    assert copies.non_blocking == [False, False, True, True]


@pytest.mark.parametrize(
    "meet", [torch.mm, torch.add, lambda here, there: here[there[0].long()], lambda here, there: there[here[0].long()]]
)
def test_tensors_of_both_devices_do_not_meet(meet: Any, device: torch.device) -> None:
    here, there = torch.ones(2, 2, device=device), torch.ones(2, 2)
    with Copies(), pytest.raises((AssertionError, RuntimeError)):
        meet(here, there)
    with Copies():
        assert (here * torch.ones(())).device == device
