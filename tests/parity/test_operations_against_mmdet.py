"""Operations of a training step behind backbone and neck; its losses equal mmdet's on the same weights and objects."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.counters import OperationCounter, fixed_features
from tests.helpers.mmdet_oracle import MMDetSOLOv2, build_ours, model_options, our_state_dict, randomise

pytest.importorskip("mmdet")
from tests.helpers.parity_inputs import random_objects, to_mmdet, to_sample

# mmdet's head calls torch.meshgrid without `indexing`.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")
SIZE = (256, 320)


def count_operations(count: int) -> OperationCounter:
    """Operations of forward and backward for two images of `count` objects each; asserts equal losses of mmdet."""
    generator = torch.Generator().manual_seed(0)
    options = model_options(num_convs=4)
    reference, ours = MMDetSOLOv2(options), build_ours(options)
    randomise(reference, generator)
    ours.load_state_dict(our_state_dict(reference.state_dict()))
    images = torch.randn(2, 3, *SIZE, generator=generator)
    objects = [random_objects(*SIZE, count=count, num_classes=5, generator=generator) for _ in images]
    samples = [to_sample(image) for image in objects]
    reference_objects = [to_mmdet(image) for image in objects]
    with torch.no_grad():
        features = [level.requires_grad_() for level in ours.neck(ours.backbone(images))]
    with fixed_features(ours, features), OperationCounter() as counter:
        losses = ours(images, samples, mode="loss")
        sum(losses.values()).backward()
    with torch.no_grad():
        expected = reference.mask_head.loss_by_feat(*reference.mask_head(features), reference_objects, [{}, {}])
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4)
    return counter


@pytest.mark.parametrize(("count", "kernels", "views"), [(7, 600, 540), (28, 640, 570)])
def test_operations_of_a_step(count: int, kernels: int, views: int) -> None:
    """Upper bounds, also with torch 2.4: the step launches few operations, however many objects the images have."""
    ours = count_operations(count)
    assert sum(ours.kernels.values()) <= kernels
    assert sum(ours.views.values()) <= views
    assert ours.host_syncs == []


def test_operations_do_not_depend_on_the_objects() -> None:
    """This holds while all masks fit into one chunk of the mask loss."""
    few, many = (sum(count_operations(count).kernels.values()) for count in (3, 20))
    assert few == many
