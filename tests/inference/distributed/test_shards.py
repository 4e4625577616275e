"""Shards and their folder, actors without Ray, and what users do wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="needs pyarrow")

from pycocotools.coco import COCO

from solo.cli import main
from solo.errors import OutputError
from solo.inference.distributed import PredictedImage, read_shards, write_coco
from solo.inference.distributed.predict import ShardPredictor, Work
from solo.inference.distributed.shards import ShardFolder, shard_name
from solo.inference.instances import Instances
from solo.masks.rle import encode_masks
from tests.helpers.fakes import CLASSES, square_mask, write_checkpoint, write_config


def square(path: str) -> PredictedImage:
    rles = encode_masks(square_mask()[None])
    found = Instances(labels=[1], scores=[0.5], boxes=[[4, 4, 20, 20]], rles=rles, image_size=(32, 32), classes=CLASSES)
    return PredictedImage(path, found, None)


def nothing(path: str) -> PredictedImage:
    found = Instances(labels=[], scores=[], boxes=[], rles=[], image_size=(8, 16), classes=CLASSES)
    return PredictedImage(path, found, None)


def test_images_come_back(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "shards")
    folder.claim(dict(model="a"))
    folder.write(shard_name(0, ["a", "b"]), [square("a"), nothing("b")], classes=CLASSES)
    folder.write(shard_name(1, ["c"]), [PredictedImage("c", None, "broken")], classes=CLASSES)
    first, second, third = read_shards(tmp_path / "shards")
    assert first.instances is not None and second.instances is not None
    assert first.instances.rles == square("a").instances.rles  # type: ignore[union-attr]
    assert first.instances.boxes.tolist() == [[4, 4, 20, 20]]
    assert (len(second.instances), second.instances.image_size, second.instances.classes) == (0, (8, 16), CLASSES)
    assert third == ("c", None, "broken")
    assert folder.read_errors() == {"a": None, "b": None, "c": "broken"}
    assert write_coco(tmp_path / "shards", tmp_path / "coco.json") == 1
    coco = COCO(tmp_path / "coco.json")
    assert [image["file_name"] for image in coco.imgs.values()] == ["a", "b"]
    assert coco.anns[1]["area"] == 256


def test_a_shard_that_is_written_twice_is_there_once(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path)
    for _ in range(2):
        folder.write(shard_name(0, ["a"]), [square("a")], classes=CLASSES)
    assert [image.path for image in read_shards(tmp_path)] == ["a"]


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "shards")
    folder.claim(dict(model="a", tile=[1, 2]))
    folder.check(dict(model="a", tile=(1, 2)))
    with pytest.raises(OutputError, match="another run: its model is a, here b; choose another --out-dir"):
        folder.check(dict(model="b", tile=(1, 2)))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"holds notes\.txt but no manifest\.json"):
        ShardFolder(tmp_path).check({})


def test_damaged_and_missing_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no shard"):
        list(read_shards(tmp_path))
    (tmp_path / "shard-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"shard-0\.parquet is damaged"):
        list(read_shards(tmp_path))


class FakePredictor:
    classes = CLASSES

    def read_image(self, path: Path) -> Any:
        return path

    def __call__(self, images: Any, **_: Any) -> Any:
        raise KeyboardInterrupt  # as if the process ended


def test_images_that_kill_each_actor_end_the_run(tmp_path: Path) -> None:
    """Each attempt is another process, so the actors share the folder alone."""
    work = Work(
        open_model=lambda device: (FakePredictor(), []),
        device="cpu",
        model="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # of no file
        folder=str(tmp_path),
        score_thr=0.3,
        batch_size=1,
    )
    batch = dict(name=["shard-0.parquet"], images=[json.dumps([["/a.png", "/a.png"]])])
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            ShardPredictor(work)(batch)
    (problem,) = ShardPredictor(work)(batch)["problem"]
    assert "4 processes died while they predicted the images from /a.png to /a.png" in problem


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    write_config(tmp_path)
    write_checkpoint(tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").touch()
    return ["predict", "--config", "square.py", "--checkpoint", "weights.pth"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data", "--ray=127.0.0.1:1"], "--ray 127.0.0.1:1: no Ray cluster answers at 127.0.0.1, port 1"),
        (["--ray", "data", "data"], "--ray data: expected local, auto or HOST:PORT; sources stand before"),
        (["empty", "--ray"], "empty: the folder holds no image"),
        (["data", "--ray", "--out-dir", "own"], "own holds thesis.txt but no manifest.json"),
        (["gone://a/b.png", "--ray"], "gone://a/b.png: Protocol not known: gone"),
        (["http://a/b.png?x=1", "http://a/b.png?x=2", "--ray"], "http://a/b.png is named twice"),
        (["data", "--ray", "--track", "iou"], "--track and --ray do not go together"),
        (["data", "--ray-actors", "2"], "--ray-actors belongs to --ray"),
        (["data", "--ray", "--device", "cpu", "--ray-gpus", "0.5"], "--device cpu and --ray-gpus 0.5 contradict"),
        (["data", "--ray", "--checkpoint", "gone.pth"], "model file gone.pth does not exist"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("predictions").exists()


@pytest.mark.parametrize("name", ["pyarrow", "ray"])
def test_missing_extra(
    words: list[str], name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert main([*words, "data", "--ray"]) == 2
    assert capsys.readouterr().err == f"error: {name} is not installed: pip install 'solov2[ray]'\n"
