"""How many operations a step takes outside backbone and neck, beside mmdet on the same weights and objects."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contenders import fixed_features
from benchmarks.counters import OperationCounter
from tests.helpers.mmdet_oracle import MMDetSOLOv2, build_ours, model_options, our_state_dict, randomise

pytest.importorskip("mmdet")
from tests.parity.test_against_mmdet import draw_objects, to_mmdet, to_sample

# mmdet's head calls it so at every step.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")
SIZE = (256, 320)


def count_both(count: int) -> tuple[OperationCounter, OperationCounter]:
    """Ours and mmdet's forward and backward for two images of `count` objects each."""
    generator = torch.Generator().manual_seed(0)
    options = model_options(num_convs=4)
    peer, ours = MMDetSOLOv2(options), build_ours(options)
    randomise(peer, generator)
    ours.load_state_dict(our_state_dict(peer.state_dict()))
    images = torch.randn(2, 3, *SIZE, generator=generator)
    objects = [draw_objects(*SIZE, count=count, num_classes=5, generator=generator) for _ in images]
    samples = [to_sample(image) for image in objects]
    peer_objects = [to_mmdet(image) for image in objects]
    with torch.no_grad():
        features = [level.requires_grad_() for level in ours.neck(ours.backbone(images))]
    with fixed_features(ours, features), OperationCounter() as own:
        losses = ours(images, samples, mode="loss")
        sum(losses.values()).backward()
    with OperationCounter() as others:
        peer_losses = peer.mask_head.loss_by_feat(*peer.mask_head(features), peer_objects, [{}, {}])
        sum(peer_losses.values()).backward()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(peer_losses[name].item(), rel=1e-4)
    return own, others


@pytest.mark.parametrize(("count", "kernels", "all_of_them"), [(7, 3.7, 2.9), (28, 9.3, 6.8)])
def test_operations_of_a_step(count: int, kernels: float, all_of_them: float) -> None:
    ours, peer = count_both(count)
    assert sum(peer.kernels.values()) >= kernels * sum(ours.kernels.values())
    with_views = [sum(counter.kernels.values()) + sum(counter.views.values()) for counter in (ours, peer)]
    assert with_views[1] >= all_of_them * with_views[0]
    assert ours.host_syncs == []
    assert len(peer.host_syncs) > 10 * count


def test_our_operations_do_not_depend_on_the_objects() -> None:
    """As long as their masks are drawn in one chunk."""
    few, many = (sum(count_both(count)[0].kernels.values()) for count in (3, 20))
    assert few == many
