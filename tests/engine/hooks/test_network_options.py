from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed
from mmengine.model import MMDistributedDataParallel
from torch import Tensor

from solo.engine.hooks import NetworkOptionsHook
from solo.errors import ConfigError
from solo.models import SOLOv2
from tests.helpers.counters import peak_bytes
from tests.helpers.tiny_model import build_tiny, rectangles, training_sample

SIZE = (64, 96)
# With fewer channels torch crashes on the CPU when they are innermost.
WIDE: dict[str, Any] = dict(backbone=dict(base_channels=16), neck=dict(in_channels=[16, 32, 64, 128]))


def build(*, norm_eval: bool = True, **options: Any) -> SOLOv2:
    """As a runner has it before training: every part in training mode, those too that will leave it with norm_eval."""
    model = build_tiny(norm_eval=norm_eval, **WIDE)
    for module in model.modules():
        module.training = True
    NetworkOptionsHook(**options).before_train(SimpleNamespace(model=model))  # type: ignore[arg-type]
    return model


def losses_and_gradients(model: torch.nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    samples = [training_sample(rectangles(SIZE, (4, 4, 20, 24), (10, 10, 90, 60)), [0, 2]) for _ in images]
    losses = model(images, samples, mode="loss")
    sum(losses.values()).backward()
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    "options",
    [
        dict(channels_last=True),
        dict(recompute=["backbone.layer3", "neck", "mask_feature", "head"]),
        dict(compile=dict(backend="eager")),
        dict(compile=dict(backend="aot_eager")),
    ],
    ids=["channels last", "recompute", "compile", "compile with autograd"],
)
def test_the_network_computes_the_same(options: dict[str, Any]) -> None:
    plain, changed = build(), build(**options)
    assert plain.state_dict().keys() == changed.state_dict().keys()
    expected, found = losses_and_gradients(plain), losses_and_gradients(changed)
    for name, loss in expected[0].items():
        assert found[0][name].item() == pytest.approx(loss.item(), rel=1e-5)
    for name, gradient in expected[1].items():
        assert torch.allclose(found[1][name], gradient, atol=1e-4 * gradient.abs().max().item()), name


def test_recomputed_parts_keep_no_activations() -> None:
    plain, recomputing = build(), build(recompute=["backbone.layer1", "backbone.layer2", "neck", "mask_feature"])
    images = torch.zeros(2, 3, *SIZE)
    before, after = (peak_bytes(lambda model=model: model(images)) for model in (plain, recomputing))
    assert after < 0.7 * before


def test_channels_last_reaches_the_backbone() -> None:
    model = build(channels_last=True)
    seen: list[bool] = []
    model.backbone.conv1.register_forward_hook(
        lambda module, inputs, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    model(torch.zeros(1, 3, *SIZE))
    assert seen == [True]


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_distributed_settings(process_group: None) -> None:
    """What `model_wrapper_cfg` of a config may hold; a batch without objects leaves no parameter without gradient."""
    plain = build_tiny().train()
    model = MMDistributedDataParallel(build_tiny().train(), static_graph=True, gradient_as_bucket_view=True)
    expected = losses_and_gradients(plain)[1]
    found = losses_and_gradients(model)[1]
    for name, gradient in expected.items():
        assert torch.allclose(found[f"module.{name}"], gradient, atol=1e-6 * gradient.abs().max().item()), name
    model.zero_grad()
    empty = [training_sample(rectangles(SIZE), []) for _ in range(2)]
    sum(model(torch.zeros(2, 3, *SIZE), empty, mode="loss").values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["", "nek", "head.nothing"])
def test_a_part_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the model has no part '{name}'"):
        build(recompute=[name])


def test_batch_statistics_are_not_counted_twice() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.layer1\.0\.bn1 would count every batch twice"):
        build(norm_eval=False, recompute=["backbone.layer1"])


def test_channels_that_torch_crashes_on_are_refused() -> None:
    model = build_tiny()
    with pytest.raises(ConfigError, match=r"channels_last: backbone\.layer2\.0\.downsample\.0 .* 8 channels"):
        NetworkOptionsHook(channels_last=True).before_train(SimpleNamespace(model=model))  # type: ignore[arg-type]
