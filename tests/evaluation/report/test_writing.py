"""The files of a report: readable, escaped, complete, and opened by a browser without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solo.errors import OutputError
from solo.evaluation.report import check_report, report_files, write_report
from tests.helpers.evaluation import HEIGHT, WIDTH
from tests.helpers.reports import random_images, scene

HOSTILE = "<script>alert(1)</script>\x1b[31m"
CLASSES = (HOSTILE, "square", "star")
CHROMIUM = Path("/usr/bin/chromium")


def write(folder: Path, images: list[Any], detections: list[Any], **options: Any) -> tuple[str, dict[str, Any]]:
    arguments: dict[str, Any] = dict(classes=CLASSES, max_dets=100, title="weights.pth of config.py", image_paths={})
    write_report(folder / "report", images=images, detections=detections, **{**arguments, **options})
    page, numbers = report_files(folder / "report")
    return page.read_text(encoding="utf-8"), json.loads(numbers.read_text())


@pytest.fixture
def image_paths(tmp_path: Path) -> dict[int, str]:
    paths = {10 + number: str(tmp_path / f"<u>{number}.png") for number in range(4)}
    for path in list(paths.values())[1:]:  # the first one is missing
        cv2.imwrite(path, np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return paths


def test_names_are_escaped_and_nothing_is_fetched(tmp_path: Path, image_paths: dict[int, str]) -> None:
    page, _ = write(tmp_path, *random_images(tmp_path, 1), image_paths=image_paths)
    assert "<script" not in page and "\x1b" not in page and "<u>" not in page
    assert "&lt;script&gt;" in page and "http" not in page
    assert page.count("data:image/jpeg") == 1 and "cannot be read" in page


def test_page_and_numbers_agree(tmp_path: Path) -> None:
    page, numbers = write(tmp_path, *random_images(tmp_path, 1))
    assert numbers["images"] == 4 and len(numbers["classes"]) == 3
    assert f"<td>{numbers['overall']['ap']:.3f}</td>" in page
    assert f"<b>{numbers['overall']['best_threshold']:.3f}</b>" in page
    assert sum(numbers["mistakes"].values()) == sum(w["missed"] + w["false"] for w in numbers["worst_images"])
    totals = [image["missed"] + image["false"] for image in numbers["worst_images"]]
    assert totals == sorted(totals, reverse=True)


def test_boundary_ap_is_shown_where_it_was_computed(tmp_path: Path) -> None:
    content = random_images(tmp_path, 1)
    page, numbers = write(tmp_path, *content, boundary_ap=0.1234)
    assert numbers["boundary_ap"] == 0.1234
    assert "<th>boundary AP</th>" in page and "<td>0.123</td>" in page
    page, numbers = write(tmp_path, *content)
    assert "boundary_ap" not in numbers and "boundary AP" not in page


def test_without_any_detection(tmp_path: Path) -> None:
    page, numbers = write(tmp_path, *scene(tmp_path, [[(0, (0, 0, 9, 9))], []], [[], []]))
    assert "No detection finds an object" in page
    assert numbers["overall"]["best_threshold"] is None and numbers["overall"]["ap"] == 0
    assert numbers["mistakes"] == {"missed without a mask": 1}


def test_without_any_object(tmp_path: Path) -> None:
    _, numbers = write(tmp_path, *scene(tmp_path, [[]], [[(1, 0.5, (0, 0, 9, 9))]]))
    assert numbers["overall"]["ap"] == -1 and numbers["mistakes"] == {"on background": 1}


def test_many_classes_show_the_largest_confusions(tmp_path: Path) -> None:
    images, detections = scene(
        tmp_path, [[(0, (0, 0, 20, 20))]], [[(1, 0.9, (0, 0, 20, 20)), (0, 0.8, (50, 50, 9, 9))]]
    )
    page, numbers = write(tmp_path, images, detections, classes=[f"class {i}" for i in range(40)])
    assert "taken for" in page and np.array(numbers["confusion"]).shape == (41, 41)


def test_only_reports_are_replaced(tmp_path: Path) -> None:
    images = scene(tmp_path, [[]], [[]])
    write(tmp_path, *images)
    check_report(tmp_path / "report", overwrite=False)
    (tmp_path / "report" / "report.html").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        check_report(tmp_path / "report", overwrite=False)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")
def test_opens_in_a_browser_from_the_folder(tmp_path: Path, image_paths: dict[int, str]) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    write(tmp_path, *random_images(tmp_path, 1), image_paths=image_paths)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        page.goto((tmp_path / "report" / "report.html").as_uri())
        assert page.locator("svg").count() == 3
        assert (
            page.locator(".images img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        )
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
        browser.close()
    assert problems == []
