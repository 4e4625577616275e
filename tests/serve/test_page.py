"""The page in a real browser: what users do with it, and that the model is called once for an image."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

pytest.importorskip("fastapi", reason="needs solov2[serve]")
pytest.importorskip("python_multipart", reason="needs solov2[serve]")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

from solo.inference.instances import Instances  # noqa: E402
from solo.masks.rle import encode_masks  # noqa: E402
from solo.serve.limits import ServerLimits  # noqa: E402
from tests.helpers.served import RingPredictor, image_file, running_server, served_app  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs Chromium: apt-get install chromium", allow_module_level=True)
NASTY = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture
def predictor() -> RingPredictor:
    return RingPredictor()


@pytest.fixture
def page(browser: Any, predictor: RingPredictor) -> Iterator[Any]:
    with running_server(served_app(predictor)) as url:
        yield from open_page(browser, url)


def open_page(browser: Any, url: str) -> Iterator[Any]:
    context = browser.new_context(viewport=dict(width=1100, height=700), permissions=["camera"])
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: problems.append(request.url) if not _is_own(request.url, url) else None)
    page.goto(url)
    until(page, "document.documentElement.dataset.ready === 'true'")
    yield page
    context.close()
    assert not problems


def _is_own(address: str, url: str) -> bool:
    return address.startswith((url, f"blob:{url}"))


def until(page: Any, condition: str) -> None:
    """Wait until a condition holds; Playwright's own waiting evaluates text in the page, which its policy forbids."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def give(page: Any, *names: str, **options: Any) -> None:
    """Choose files in the page and wait until the first one is shown."""
    files = [
        dict(name=name, mimeType="image/png", buffer=image_file(seed=i, **options)) for i, name in enumerate(names)
    ]
    page.set_input_files("#pick-images", files)
    until(page, "document.querySelector('#total').textContent !== '' && document.querySelector('#busy').hidden")


def at(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the image is on the screen."""
    until(page, "document.querySelector('#canvas').dataset.view")
    page.evaluate("() => new Promise(resume => requestAnimationFrame(() => requestAnimationFrame(resume)))")
    view = json.loads(page.get_attribute("#canvas", "data-view"))
    box = page.locator("#canvas").bounding_box()
    return box["x"] + view["x"] + x * view["scale"], box["y"] + view["y"] + y * view["scale"]


def count(page: Any) -> str:
    return str(page.text_content("#count"))


def move_threshold(page: Any, value: float) -> None:
    page.evaluate(
        "v => { const s = document.querySelector('#threshold'); s.value = v; s.dispatchEvent(new Event('input')) }",
        value,
    )


def download(page: Any, what: str) -> tuple[str, bytes]:
    with page.expect_download() as started:
        page.click(f"[data-what={what}]")
    return started.value.suggested_filename, Path(started.value.path()).read_bytes()


def test_filters_without_calling_the_model_again(page: Any, predictor: RingPredictor) -> None:
    give(page, "photo.png")
    assert count(page) == "2"
    move_threshold(page, 0.5)
    assert count(page) == "1"
    move_threshold(page, 0.05)
    assert count(page) == "2"
    page.uncheck("#classes li:has-text('dust') input")
    assert count(page) == "1"
    page.click("#no-classes")
    assert count(page) == "0"
    page.click("#all-classes")
    assert count(page) == "2"
    assert predictor.calls == 1


def test_hover_tells_label_score_and_area_and_a_hole_is_not_the_object(page: Any) -> None:
    give(page, "photo.png")
    page.mouse.move(*at(page, 6, 6))
    assert page.text_content("#tip").split() == ["cell", "·", "0.90", "·", "364", "px"]
    page.mouse.move(*at(page, 13, 13))
    assert page.is_hidden("#tip")
    page.mouse.move(*at(page, 41, 22))
    assert page.text_content("#tip").split() == ["dust", "·", "0.40", "·", "96", "px"]


def test_click_hides_and_shows_again(page: Any) -> None:
    give(page, "photo.png")
    page.mouse.click(*at(page, 6, 6))
    assert (count(page), page.text_content("#hidden-count")) == ("1", "1 hidden by click")
    page.click("#show-all")
    assert count(page) == "2"


def test_zoom_and_pan(page: Any) -> None:
    give(page, "photo.png")
    before = at(page, 0, 0), at(page, 10, 0)
    page.mouse.move(*at(page, 30, 30))
    page.mouse.wheel(0, -400)
    after = at(page, 0, 0), at(page, 10, 0)
    assert after[1][0] - after[0][0] > 1.5 * (before[1][0] - before[0][0])
    page.mouse.down()
    page.mouse.move(*[value + 40 for value in at(page, 30, 30)], steps=4)
    page.mouse.up()
    assert at(page, 0, 0)[0] == pytest.approx(after[0][0] + 40, abs=2)
    assert count(page) == "2"  # a drag hides nothing
    page.keyboard.press("0")
    assert at(page, 0, 0) == pytest.approx(before[0])


def test_opacity_and_colours_reach_the_canvas(page: Any) -> None:
    give(page, "photo.png")
    pixel = """([x, y]) => {
        const canvas = document.querySelector('#canvas'), box = canvas.getBoundingClientRect();
        return [...canvas.getContext('2d').getImageData(x - box.x, y - box.y, 1, 1).data];
    }"""
    page.uncheck("#outlines")
    half = page.evaluate(pixel, list(at(page, 6.5, 6.5)))
    page.evaluate(
        "() => { const s = document.querySelector('#opacity'); s.value = 0; s.dispatchEvent(new Event('input')) }"
    )
    bare = page.evaluate(pixel, list(at(page, 6.5, 6.5)))
    image = cv2.imdecode(np.frombuffer(image_file(seed=0), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(np.array(bare[:3]) - image[6, 6, ::-1]).max() <= 40  # interpolated
    assert half != bare


def test_arrow_keys_go_through_the_folder(page: Any, predictor: RingPredictor) -> None:
    give(page, "a.png", "b.png", "c.png")
    assert page.text_content("#position") == "1 / 3"
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#position').textContent === '2 / 3'")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#total').textContent !== '' && document.querySelector('#busy').hidden")
    assert page.text_content("#position") == "3 / 3"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('#busy').hidden")
    assert (page.text_content("#position"), predictor.calls) == ("1 / 3", 3)


def test_folder_is_dropped(page: Any) -> None:
    page.evaluate(
        """async bytes => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], 'x.png', { type: 'image/png' }));
            dataTransfer.items.add(new File(['text'], 'notes.txt', { type: 'text/plain' }));
            document.querySelector('#stage').dispatchEvent(new DragEvent('drop', { bubbles: true, dataTransfer }));
        }""",
        list(image_file()),
    )
    until(page, "document.querySelector('#total').textContent !== ''")
    assert page.text_content("#note") == "1 files are no images and were left out"


def test_stages_are_listed(page: Any) -> None:
    give(page, "photo.png")
    assert page.locator("#stages dt").all_text_contents() == ["read", "network", "decode", "send", "wait"]


def test_camera(page: Any) -> None:
    page.click("#open-camera")
    until(page, "document.querySelector('#video').videoWidth > 0")
    page.click("#snapshot")
    until(page, "document.querySelector('#total').textContent !== ''")
    assert page.is_hidden("#camera")
    assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_coco_holds_what_is_shown_as_the_server_sent_it(page: Any) -> None:
    give(page, "photo.png")
    name, content = download(page, "coco")
    found = json.loads(content)
    assert name == "photo_coco.json"
    assert [category["name"] for category in found["categories"]] == ["cell", "dust"]
    assert [(each["category_id"], each["area"], each["bbox"]) for each in found["annotations"]] == [
        (1, 364, [4, 4, 20, 20]),
        (2, 96, [40, 4, 10, 20]),
    ]
    assert [int(coco_mask.area(each["segmentation"])) for each in found["annotations"]] == [364, 96]
    move_threshold(page, 0.5)
    assert len(json.loads(download(page, "coco")[1])["annotations"]) == 1


def test_labelme_groups_parts_and_counts_holes(page: Any) -> None:
    give(page, "photo.png")
    name, content = download(page, "labelme")
    found = json.loads(content)
    assert (name, found["imagePath"], found["imageHeight"], found["imageWidth"]) == ("photo.json", "photo.png", 48, 64)
    assert [(shape["label"], shape["group_id"]) for shape in found["shapes"]] == [
        ("cell", None),
        ("dust", 2),
        ("dust", 2),
    ]
    assert sorted(found["shapes"][0]["points"]) == [[4, 4], [4, 24], [24, 4], [24, 24]]
    assert page.text_content("#note") == "polygons of labelme have no holes: 1 were filled"


def test_png_has_the_size_of_the_image(page: Any) -> None:
    give(page, "photo.png")
    drawn = cv2.imdecode(np.frombuffer(download(page, "png")[1], np.uint8), cv2.IMREAD_COLOR)
    image = cv2.imdecode(np.frombuffer(image_file(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(drawn[30:], image[30:])
    assert (drawn[7, 7] != image[7, 7]).any() and (drawn[13, 13] == image[13, 13]).all()


def test_cutouts_are_transparent_around_the_object(page: Any) -> None:
    give(page, "photo.png")
    name, content = download(page, "cutouts")
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert (name, archive.testzip()) == ("photo_cutouts.zip", None)
    assert archive.namelist() == ["photo_0001_cell.png", "photo_0002_dust.png"]
    cell = cv2.imdecode(np.frombuffer(archive.read("photo_0001_cell.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    image = cv2.imdecode(np.frombuffer(image_file(), np.uint8), cv2.IMREAD_COLOR)
    assert cell.shape == (20, 20, 4) and (cell[..., 3] > 0).sum() == 364
    np.testing.assert_array_equal(cell[:6, :, :3], image[4:10, 4:24])


def test_all_images_in_one_file(page: Any, predictor: RingPredictor) -> None:
    give(page, "a.png", "b.png", "c.png")
    found = json.loads(download(page, "coco-all")[1])
    assert [image["file_name"] for image in found["images"]] == ["a.png", "b.png", "c.png"]
    assert (len(found["annotations"]), predictor.calls) == (6, 3)
    archive = zipfile.ZipFile(io.BytesIO(download(page, "labelme-all")[1]))
    assert archive.namelist() == ["a.json", "b.json", "c.json"]


def test_names_are_text(browser: Any) -> None:
    with running_server(served_app(RingPredictor(classes=(NASTY, "dust")))) as url:
        for page in open_page(browser, url):
            give(page, f"{NASTY}.png", "b.png")
            page.mouse.move(*at(page, 6, 6))
            assert NASTY in page.text_content("#tip")
            assert page.locator("#classes .name").all_text_contents() == [NASTY, "dust"]
            assert page.title() == "solo"
            assert page.locator("img[src=x]").count() == 0


def test_problems_are_told_and_the_page_goes_on(page: Any) -> None:
    page.set_input_files("#pick-images", [dict(name="bad.png", mimeType="image/png", buffer=image_file()[:-60])])
    page.wait_for_selector("#problem:not([hidden])")
    assert "bad.png" in page.text_content("#problem") and "truncated" in page.text_content("#problem")
    give(page, "photo.png")
    assert page.is_hidden("#problem") and count(page) == "2"


def test_formats_that_browsers_do_not_know(page: Any) -> None:
    files = [dict(name="scan.tiff", mimeType="image/tiff", buffer=image_file(suffix=".tiff"))]
    page.set_input_files("#pick-images", files)
    until(page, "document.querySelector('#total').textContent !== ''")
    page.mouse.move(*at(page, 6, 6))
    assert "cell" in page.text_content("#tip")


def test_a_busy_server_is_asked_again(browser: Any) -> None:
    with running_server(served_app(limits=ServerLimits(max_requests=1))) as url:
        for page in open_page(browser, url):
            give(page, "a.png", "b.png", "c.png")
            assert len(json.loads(download(page, "coco-all")[1])["images"]) == 3


def test_wipe_compares_two_models(browser: Any) -> None:
    first, second = RingPredictor(), RingPredictor(classes=("nucleus",), shift=10)
    with running_server(served_app(first, second)) as url:
        for page in open_page(browser, url):
            give(page, "photo.png")
            assert count(page) == "2 | 2" and page.is_visible("#classes-differ")
            box = page.locator("#stage").bounding_box()
            handle = box["x"] + box["width"] / 2, box["y"] + 40
            page.mouse.move(*handle)
            page.mouse.down()
            page.mouse.move(box["x"] + 5, handle[1], steps=3)
            page.mouse.up()
            page.mouse.move(*at(page, 30, 6))  # in the second model's cell alone
            assert page.text_content("#tip").split()[0] == "nucleus"
            page.focus("#wipe")
            for _ in range(60):
                page.keyboard.press("ArrowRight")
            page.mouse.move(*at(page, 6, 6))
            assert page.text_content("#tip").split()[0] == "cell"
            page.click("#views [data-view=b]")
            assert count(page) == "2" and page.is_hidden("#wipe")
            assert [each["name"] for each in json.loads(download(page, "coco")[1])["categories"]] == ["nucleus"]
            assert (first.calls, second.calls) == (1, 1)


def test_small_screens_show_all(browser: Any) -> None:
    with running_server(served_app()) as url:
        page = browser.new_page(viewport=dict(width=390, height=800))
        page.goto(url)
        give(page, "photo.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("#downloads").scroll_into_view_if_needed()
        page.close()


def test_api_page_lists_the_routes(browser: Any) -> None:
    with running_server(served_app()) as url:
        for page in open_page(browser, f"{url}/"):
            page.goto(f"{url}/docs")
            page.wait_for_selector("#schemas section")
            assert "/predict" in page.text_content("#routes") and "Retry-After" in page.text_content("#routes")


def random_masks(generator: np.random.Generator) -> np.ndarray:
    height, width = generator.integers(1, 14, 2)
    return generator.random((6, height, width)) < generator.choice([0.2, 0.5, 0.8, 1.0], (6, 1, 1))


def test_rings_of_the_page_are_those_of_the_package(page: Any) -> None:
    generator = np.random.default_rng(0)
    trace = "rles => import('/static/masks.js').then(module => rles.map(module.traceRings))"
    for _ in range(20):
        masks = random_masks(generator)
        found = Instances(
            labels=np.zeros(6),
            scores=np.ones(6),
            boxes=np.zeros((6, 4)),
            rles=encode_masks(masks),
            image_size=masks.shape[1:],
            classes=("a",),
        )
        expected = [[(ring.is_hole, turned(ring.points.tolist())) for ring in rings] for rings in found.polygons()]
        traced = page.evaluate(trace, [dict(rle) for rle in found.rles])
        assert [sorted((ring["isHole"], turned(ring["points"])) for ring in rings) for rings in traced] == [
            sorted(rings) for rings in expected
        ]


def turned(points: list[list[int]]) -> list[list[int]]:
    """The ring from its first corner in reading order."""
    start = points.index(min(points))
    return points[start:] + points[:start]
