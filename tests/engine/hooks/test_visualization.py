"""VisualizationHook: both forms of masks, and the names of its files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from solo.engine.hooks import VisualizationHook
from solo.errors import OutputError
from solo.masks.encoding import encode_bitmaps


def runner_of(*images: Path) -> Any:
    """A runner whose test data has these images."""

    class Images(list[Path]):
        def __init__(self) -> None:
            super().__init__(images)
            self.metainfo = dict(classes=("thing",))

        def get_data_info(self, index: int) -> dict[str, str]:
            return dict(img_path=str(self[index]))

    return SimpleNamespace(test_dataloader=SimpleNamespace(dataset=Images()))


def sample_of(path: Path, masks: Any) -> BaseDataElement:
    """A sample with two detections, one of them below the hook's threshold."""
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    sample = BaseDataElement(metainfo=dict(ori_shape=(30, 40), img_path=str(path)))
    sample.pred_instances = InstanceData(
        labels=torch.zeros(2, dtype=torch.int64),
        scores=torch.tensor([0.9, 0.2]),
        masks=masks,
        bboxes=torch.zeros(2, 4),
    )
    return sample


def two_masks() -> torch.Tensor:
    masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, 5:20, 5:30] = masks[1, 20:, :10] = True
    return masks


def draw(folder: Path, *samples: BaseDataElement, **options: Any) -> None:
    hook = VisualizationHook(show_dir=str(folder), **options)
    runner = runner_of(*(Path(sample.img_path) for sample in samples))
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, outputs=samples)


def test_encoded_masks_are_drawn_like_bitmaps(tmp_path: Path) -> None:
    masks = two_masks()
    drawn = []
    for name, form in (("bitmaps", masks), ("encoded", encode_bitmaps(masks).rles)):
        sample = sample_of(tmp_path / "one.png", form)
        draw(tmp_path / name, sample)
        drawn.append(cv2.imread(str(tmp_path / name / "one.png")))
        assert sample.pred_instances.masks is form, "the sample itself stays as it is"
    np.testing.assert_array_equal(drawn[1], drawn[0])
    assert drawn[0].any()


def test_images_of_one_name_have_visualisations_of_their_own(tmp_path: Path) -> None:
    samples = [sample_of(tmp_path / folder / "1.png", two_masks()) for folder in ("a", "b", "c")]
    draw(tmp_path / "all", *samples)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["1.png", "1_2.png", "1_3.png"]
    draw(tmp_path / "two", *samples, max_images=2)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["1.png", "1_2.png"]


def test_a_visualisation_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out" / "1.png").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"1\.png cannot be written"):
        draw(tmp_path / "out", sample_of(tmp_path / "a" / "1.png", two_masks()))


def test_only_visualisations_are_replaced(tmp_path: Path) -> None:
    sample = sample_of(tmp_path / "a" / "1.png", two_masks())
    with pytest.raises(OutputError, match=r"1\.png is a file that this command reads"):
        draw(tmp_path / "a", sample, overwrite=True)
    for _ in range(2):
        draw(tmp_path / "out", sample)
    (tmp_path / "out" / "1.png").write_bytes((tmp_path / "a" / "1.png").read_bytes())
    with pytest.raises(OutputError, match=r"1\.png exists already; .*--overwrite"):
        draw(tmp_path / "out", sample)
    draw(tmp_path / "out", sample, overwrite=True)


@pytest.mark.parametrize("form", ["file", "link"])
def test_other_images_of_the_data_set_are_never_replaced(form: str, tmp_path: Path) -> None:
    """The visualisation of a/1.jpg would take the name of the image that is drawn next."""
    first, second = (sample_of(tmp_path / name, two_masks()) for name in ("1.jpg", "a/1.png"))
    folder = tmp_path / "a"
    if form == "link":  # hard links: the file has another name in the folder of the visualisations
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / "1.png").hardlink_to(second.img_path)
    before = Path(second.img_path).read_bytes()
    with pytest.raises(OutputError, match=r"1\.png is a file that this command reads"):
        draw(folder, first, second, overwrite=True)
    assert Path(second.img_path).read_bytes() == before
