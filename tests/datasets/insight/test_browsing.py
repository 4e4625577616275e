"""The page of training samples: its data, and how a real browser shows it, from a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solo.cli import main
from tests.helpers.coco_files import annotation, content, write

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<img src=x onerror=alert(1)></script>"


def square(number: int, x: int, y: int, side: int, **changes: Any) -> dict[str, Any]:
    outline = [x, y, x + side, y, x + side, y + side, x, y + side]
    return annotation(number, bbox=[x, y, side, side], segmentation=[outline], **changes)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Two objects at one place, of which the later one wins the cells, and an image with a hostile class name."""
    what = content([square(1, 60, 60, 16), square(2, 60, 60, 16), square(3, 10, 10, 60, image_id=2)], num_images=2)
    for image in what["images"]:
        image.update(height=128, width=128)
    what["categories"] = [dict(id=1, name=HOSTILE)]
    path = write(tmp_path, what)
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((128, 128, 3), 90, np.uint8))
    assert main(["data", "browse", str(path), "--out", str(tmp_path / "page.html")]) == 0
    return tmp_path / "page.html"


def embedded(page: Path) -> Any:
    found = re.search(r"^const data = (.*);$", page.read_text(), re.MULTILINE)
    assert found is not None
    return json.loads(found[1])


def test_data_of_the_page(page: Path) -> None:
    data = embedded(page)
    first, second = data["samples"]
    assert [entry["lost"] for entry in first["objects"]] == ["cells taken by other objects", ""]
    assert not any(own for *_, own in first["objects"][0]["cells"])
    assert all(own for *_, own in first["objects"][1]["cells"])
    assert [entry["class"] for entry in second["objects"]] == [HOSTILE]
    assert first["size"] == first["padded"] or first["size"] < first["padded"]
    assert first["image"].startswith("data:image/jpeg;base64,")


def test_the_page_needs_no_network_and_holds_no_foreign_markup(page: Path) -> None:
    text = page.read_text()
    assert HOSTILE not in text
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", text)


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, content([annotation(1)]))
    (tmp_path / "1.png").unlink()
    out = str(tmp_path / "page.html")
    assert main(["data", "browse", str(path), "--out", out]) == 2
    assert "--images" in capsys.readouterr().err
    assert main(["data", "browse", str(path), "--out", str(path)]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert main(["data", "browse", str(path), "--out", out, "--num", "0"]) == 2
    assert not Path(out).exists()


@pytest.mark.timeout(120)
def test_in_a_browser(page: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("needs /usr/bin/chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            tab = browser.new_page()
            problems: list[str] = []
            requests: list[str] = []
            tab.on("pageerror", lambda error: problems.append(str(error)))
            tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(page.as_uri())
            assert "2 images" in tab.inner_text("#summary") and "1 lost by the grid" in tab.inner_text("#summary")
            assert tab.locator("figure.sample").count() == 2
            assert tab.locator("path.mask").count() == 3
            assert "cells taken by other objects" in tab.locator("figcaption .lost").first.inner_text()
            assert tab.locator("rect.box").first.is_hidden()
            tab.check('[data-layer="boxes"]')
            assert tab.locator("rect.box").first.is_visible()
            tab.check("#only-lost")
            assert tab.locator("figure.sample:visible").count() == 1
            shown = tab.evaluate("document.querySelector('svg image').getBoundingClientRect().width")
            assert shown > 100
        finally:
            browser.close()
    assert not problems
    assert all(url.startswith(("file:", "data:")) for url in requests)
