"""Write the figures of the pages from docs/results.json and benchmarks/results/*.json, so that no two pages differ.

    python docs/tables.py          rewrites what stands between `<!-- results:NAME -->` and `<!-- /results -->`
    python docs/tables.py --check  exits with code 1 and names the pages that are out of date

benchmarks/results/NAME.json is what `solo benchmark ... --json` wrote, floors_*.json what `make floors` wrote.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(r"(<!-- results:(\w+) -->)(.*?)(<!-- /results -->)", re.DOTALL)
TRAINED = {"light R18": "train_light-r18", "R50": "train_r50", "nano, nuclei": "train_nuclei"}
PREDICTED = {"light R18": "infer_light-r18", "R50": "infer_r50"}
EXPORTED = {
    "light R18": ("exported_light-r18", "solov2-light_r18_fpn_ms-3x_coco"),
    "R50": ("exported_r50", "solov2_r50_fpn_1x_coco"),
}
RUN = {
    "ONNX Runtime, float32": ".onnx",
    "OpenVINO, float32": "_openvino",
    "OpenVINO, bfloat16": "_openvino@bfloat16",
    "OpenVINO, int8": "-int8_openvino",
    "ONNX Runtime, int8": "-int8.onnx",
}
"""How exported files are run, and what follows the contract in the names of their rows."""
TRAINING_ROWS = {
    "host_syncs": "host_syncs, of forward and backward pass",
    "ops_per_step": "ops_per_step, outside backbone and neck",
    "mask_bytes": "mask_bytes, of a pickled sample",
    "targets": "targets, one thread as in loaders' workers",
    "sample_pipeline": "sample_pipeline, one thread",
    "mask_loss": "mask_loss, forward and backward",
    "train_step": "train_step",
    "images_per_second_train": "images_per_second_train, loader and step",
    "peak_memory_train": "peak_memory_train",
}
PREDICTION_ROWS = {
    "predict_by_feat": "predict_by_feat, head outputs to bitmaps",
    "rle": "rle, bitmaps to RLE",
    "head_to_rle": "head_to_rle",
    "latency": "latency, file to bitmaps",
    "latency/network": "its network",
    "latency/decode": "its decoding",
    "latency/nms": "its NMS",
    "latency/resize": "its resize",
    "latency/rle": "RLE, after it",
    "peak_memory_predict": "peak_memory_predict",
}
RECOMPUTED = {
    "none": "none",
    "mask_feature": '`"mask_feature"`',
    "head": '`"mask_feature"`, `"head"`',
    "neck": 'and `"neck"`',
    "backbone": 'and `"backbone.layer2"`, `"backbone.layer3"`, `"backbone.layer4"`',
}


def main(arguments: Sequence[str]) -> int:
    """Rewrite the pages, or with `--check` name those that are out of date; returns the exit code."""
    outdated = outdated_pages()
    for page, text in outdated.items():
        if "--check" not in arguments:
            page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT))
    return 1 if outdated and "--check" in arguments else 0


def outdated_pages() -> dict[Path, str]:
    """The pages whose figures are not those of the result files, with their text as it should be."""
    current = {page: page.read_text(encoding="utf-8") for page in PAGES}
    updated = {page: MARKED.sub(_filled, text) for page, text in current.items()}
    return {page: text for page, text in updated.items() if text != current[page]}


def _filled(marked: re.Match[str]) -> str:
    start, name, content, end = marked.groups()
    value = FIGURES[name]()
    # A table stands on lines of its own, a single figure within a sentence.
    return f"{start}\n\n{value}\n\n{end}" if "\n" in content or "\n" in value else f"{start}{value}{end}"


@cache
def _results() -> dict[str, Any]:
    return json.loads((ROOT / "docs/results.json").read_text(encoding="utf-8"))


@cache
def _benchmark(name: str) -> dict[str, dict[str, Any]]:
    """The rows of benchmarks/results/NAME.json by their names; of light R18 those of `make floors` come first."""
    subject, _, model = name.partition("_")
    return _rows(name) | (_rows(f"floors_{subject}") if model == "light-r18" else {})


def _rows(name: str) -> dict[str, dict[str, Any]]:
    path = ROOT / "benchmarks/results" / f"{name}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return {re.sub(r"_solov2[^/]*", "", row["name"]): row for row in rows}  # without the name of the config


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def against_mmdet(row: dict[str, Any] | None) -> str:
    """How many times better than mmdetection's, with the quartiles; of counts both sides."""
    if row is None or (row["ratio"] is None and row["ours"] is None):
        return "-"
    if row["noise"] == 0 and None not in (row["ours"], row["peer"]):
        return f"{row['ours']:,.0f} against {row['peer']:,.0f}"
    if row["spread"] is None:
        return _three_digits(row["ratio"])
    low, high = map(_three_digits, row["spread"])
    return f"{_three_digits(row['ratio'])} ({low}-{high})"


def _three_digits(value: float) -> str:
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _milliseconds(row: dict[str, Any] | None, side: str) -> str:
    return "-" if row is None or row[side] is None else f"{row[side]:,.0f}"


def _compared(labels: dict[str, str], columns: dict[str, str]) -> list[list[str]]:
    return [
        [label, *(against_mmdet(_benchmark(column).get(name)) for column in columns.values())]
        for name, label in labels.items()
    ]


def training_benchmark() -> str:
    """Each row of the training benchmark, a column for each model."""
    rows = _compared(TRAINING_ROWS, TRAINED)
    position = list(TRAINING_ROWS).index("train_step") + 1
    variants = {"_bf16": "train_step, `--amp --channels-last --peer-fp32`", "_bf16-both": "train_step, `--amp` on both"}
    for offset, (variant, label) in enumerate(variants.items()):
        columns = {model: name + variant for model, name in TRAINED.items()}
        rows.insert(position + offset, _compared({"train_step": label}, columns)[0])
    return table(("row", *TRAINED), rows)


def prediction_benchmark() -> str:
    """Each row of the prediction benchmark, a column for each model."""
    rows = _compared(PREDICTION_ROWS, PREDICTED)
    for side, name in (("ours", "`solo`"), ("peer", "mmdetection")):
        cells = [_milliseconds(_benchmark(column).get("latency"), side) for column in PREDICTED.values()]
        rows.append([f"latency of {name}, ms", *cells])
    return table(("row", *PREDICTED), rows)


def gpu_benchmark() -> str:
    """Rows that were measured on a GPU, a column for each model."""
    models = {"light R18": "light-r18", "R50": "r50", "nano, nuclei": "nuclei", "light R18, 300 objects": "crowded"}
    files = [[_benchmark(f"gpu_{subject}_{name}") for subject in ("train", "infer")] for name in models.values()]
    labels = {
        **{name: TRAINING_ROWS[name] for name in ("host_syncs", "ops_per_step", "train_step", "peak_memory_train")},
        **{name: PREDICTION_ROWS[name] for name in ("head_to_rle", "latency", "peak_memory_predict")},
    }
    labels |= {name: f"{name}, MiB" for name in labels if name.startswith("peak_memory")}
    rows = [
        [label, *(against_mmdet(trained.get(name) or predicted.get(name)) for trained, predicted in files)]
        for name, label in labels.items()
    ]
    mixed = against_mmdet(_benchmark("gpu_train_r50_amp").get("train_step"))
    rows.insert(3, ["train_step, `--amp` on both", "-", mixed, "-", "-"])
    return table(("row", *models), rows)


def evaluation_benchmark() -> str:
    """Rows of the evaluation benchmark."""
    labels = {
        "cocoeval": "cocoeval, masks: 5,000 images with 70,000 detections",
        "cocoeval_boxes": "cocoeval_boxes",
        "val_loop": "val_loop, light R18, 24 photos, `--deploy auto`",
    }
    found = _benchmark("evaluate_light-r18")
    lines = []
    for name, label in labels.items():
        milliseconds = [_milliseconds(found.get(name), side) for side in ("ours", "peer")]
        lines.append([label, against_mmdet(found.get(name)), *milliseconds])
    return table(("row", "ratio", "ms, `solo`", "ms, mmdetection"), lines)


def exported_benchmark() -> str:
    """Times of exported files, from an image file to RLEs, a column for each model."""
    found = [_exported(name, config) for name, config in EXPORTED.values()]
    files = {
        f"`{contract}`, {label}": f"{contract}{file}"
        for contract in ("raw", "detections")
        for label, file in RUN.items()
    }
    rows = [["mmdetection", *(cell for model in found for cell in ("1", _milliseconds(model["checkpoint"], "peer")))]]
    for label, name in {"checkpoint, run by torch": "checkpoint", **files}.items():
        own = [model.get(name) for model in found]
        if any(own):
            rows.append([label, *(cell for row in own for cell in (against_mmdet(row), _milliseconds(row, "ours")))])
    return table(("file", *(head for model in EXPORTED for head in (model, "ms"))), rows)


def exported_ap() -> str:
    """Mask AP and sizes of exported nano models."""
    rows = [
        [row["file"], *(_mean(row[data], 4) for data in ("nuclei", "shapes")), _megabytes(row)]
        for row in _results()["exported"]
    ]
    return table(("file", "nuclei, mask AP", "shapes, mask AP", "MB, nuclei"), rows)


def int8_layers() -> str:
    """Mask AP by the layers that int8 leaves in float."""
    rows = [[row["float"], _mean(row["nuclei"], 4), _megabytes(row)] for row in _results()["int8_layers"]]
    return table(("layers that stay float, beside norms and post-processing", "mask AP", "MB"), rows)


def _megabytes(row: dict[str, Any]) -> str:
    return "-" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"


def exported_stages() -> str:
    """Where the time of an image goes: light R18, exported files and mmdetection."""
    found = _exported(*EXPORTED["light R18"])
    sides = {"mmdetection": ("checkpoint", "peer"), "checkpoint": ("checkpoint", "ours")}
    sides |= {f"`raw`, {label}": (f"raw{file}", "ours") for label, file in RUN.items()}
    stages = {"load": "read and resize", "network": "network", "decode": "decoding", "encode": "masks to RLEs"}
    rows = [
        [label, *(_one_digit(found.get(f"{name}/{stage}"), side) for stage in stages)]
        for label, (name, side) in sides.items()
    ]
    return table(("ms", *stages.values()), rows)


def _one_digit(row: dict[str, Any] | None, side: str) -> str:
    return "-" if row is None or row[side] is None else f"{row[side]:,.{1 if row[side] < 100 else 0}f}"


def _exported(name: str, config: str) -> dict[str, dict[str, Any]]:
    """The rows of latency by the names of files."""
    path = ROOT / "benchmarks/results" / f"{name}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    start = f"latency_{config}_"
    return {row["name"].removeprefix(start): row for row in rows if row["name"].startswith(start)}


def recompute_benchmark() -> str:
    """Memory and time of a step with 300 objects an image, by what is recomputed in the backward pass."""
    lines = []
    for name, label in RECOMPUTED.items():
        rows = _benchmark(f"train_crowded_{name}")
        memory, step = rows["peak_memory_train"], rows.get("train_step")
        seconds = "-" if step is None else f"{step['ours'] / 1000:.2f} ± {step['noise'] * step['ours'] / 2000:.2f}"
        lines.append([label, f"{memory['ours']:.0f}", f"{memory['ratio']:.1f}", seconds])
    return table(("`NetworkOptionsHook(recompute=[...])`", "MiB", "ratio", "seconds"), lines)


def speed() -> str:
    """What a newcomer wants to know of the speed."""
    light, full = ({**_benchmark(f"train_{name}"), **_benchmark(f"infer_{name}")} for name in ("light-r18", "r50"))
    light |= _benchmark("evaluate_light-r18")
    labels = {
        "latency": "an image, from file to masks",
        "sample_pipeline": "a training sample",
        "train_step": "a training step",
        "val_loop": "a validation loop",
        "cocoeval": "mask AP of 5,000 images",
    }
    rows = [[label, *(against_mmdet(rows.get(name)) for rows in (light, full))] for name, label in labels.items()]
    return table(("times as fast as mmdetection 3.3.0", "light R18", "R50"), rows)


def _over_seeds(runs: Sequence[dict[str, Any]], key: str, digits: int) -> str:
    """The median over the runs, with the smallest and the largest where there are several."""
    values = [run[key] for run in runs if key in run]
    if not values:
        return "-"
    median = f"{statistics.median(values):.{digits}f}"
    return median if len(values) == 1 else f"{median} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def trainings() -> str:
    """Our own results: AP over the seeds."""
    lines = []
    for training in _results()["trainings"].values():
        runs = training["runs"]
        figures = [_over_seeds(runs, key, digits) for key, digits in (("mask_ap", 3), ("box_ap", 3), ("minutes", 1))]
        lines.append([f"`{training['config']}`", training["data"], *figures, str(len(runs))])
    return table(("config", "data", "mask AP", "box AP", "minutes", "seeds"), lines)


def seeds() -> str:
    """Mask AP of each training by its seed."""
    found = {name: training["runs"] for name, training in _results()["trainings"].items() if len(training["runs"]) > 1}
    by_seed = {name: {run["seed"]: f"{run['mask_ap']:.3f}" for run in runs} for name, runs in found.items()}
    numbers = sorted({seed for runs in by_seed.values() for seed in runs})
    return table(
        ("seed", *found), [[str(seed), *(runs.get(seed, "-") for runs in by_seed.values())] for seed in numbers]
    )


def small_data() -> str:
    """Toolboxes trained from scratch on nuclei: CPU seconds, AP and time of an image."""
    titles = {
        "solo": "`solo`, crops and tiles",
        "yolo": "YOLO26n-seg, trained at 320 px, tested at 416 px",
        "mmdet": "mmdetection's SOLOv2, whole images at 320 px",
    }
    found = json.loads((ROOT / "benchmarks/results/small_data.json").read_text(encoding="utf-8"))
    figures = (("cpu_seconds", 0), ("mask_ap", 3), ("boundary_ap", 3), ("milliseconds", 0))
    rows = [
        [titles[name], *(_over_seeds(runs, key, digits) for key, digits in figures), str(len(runs))]
        for name, runs in found.items()
    ]
    return table(("", "CPU seconds of training", "mask AP", "boundary AP", "ms an image", "seeds"), rows)


def tuner() -> str:
    """Mask AP of a base config and of what the tuner proposes, by data set."""
    rows = []
    for found in _results()["tuner"]:
        cells = []
        for side in ("base", "tuned"):
            cells += [_over_seeds(found[side], "mask_ap", 3), _over_seeds(found[side], "cpu_seconds", 0)]
        rows.append([found["data"], *cells, str(len(found["base"]))])
    header = ("data", "base, mask AP", "CPU seconds", "proposed, mask AP", "CPU seconds", "seeds")
    return table(header, rows)


def demo() -> str:
    """What `make demo` prints at its end."""
    figures = _results()["demo"]
    lines = ["            AP      50      75       S       M       L"]
    for name in ("mask", "box"):
        cells = ("-" if value < 0 else f"{value:.3f}" for value in figures[name])
        lines.append(f"{name:<6}" + "".join(f"{cell:>8}" for cell in cells))
    lines += ["", f"training  {figures['train_seconds']} s, in all {figures['total_seconds']} s"]
    made = {"images": "visualisations", "curves": "curves.png", "summary": "summary.json"}
    lines += [f"{name:<10}work_dirs/demo/{file}" for name, file in made.items()]
    return "\n".join(["```text", *lines, "```"])


def _named_rows(name: str, *header: str) -> str:
    """AP of rows that have a name and for each further column a figure, those of several seeds, or none."""
    rows = _results()[name]
    return table(header, ([row["name"], *(_mean(row[key]) for key in row if key != "name")] for row in rows))


def _mean(value: float | list[float] | None, digits: int = 3) -> str:
    if isinstance(value, list):
        return f"{_mean(statistics.mean(value), digits)} ({', '.join(_mean(one, digits) for one in value)})"
    return "-" if value is None else f"{value:.{digits}f}"


FIGURES: dict[str, Callable[[], str]] = {
    "tiles": lambda: _named_rows("tiles", "mask AP", "all objects", "without those that their image's border cuts"),
    "imagenet": lambda: _named_rows("imagenet", "mask AP", "from ImageNet weights", "from scratch"),
    "rt": lambda: _named_rows("rt", "from scratch, mask AP", "nuclei, 335 steps", "drawn shapes, 600 steps"),
    "recipes": lambda: _named_rows("recipes", "recipe", "mask AP, mean (by seed)"),
    "whole_images": lambda: _named_rows("whole_images", "images at 512 pixels", "mask AP", "of largest pieces"),
    "trainings": trainings,
    "seeds": seeds,
    "small_data": small_data,
    "tuner": tuner,
    "demo": demo,
    "speed": speed,
    "training_benchmark": training_benchmark,
    "exported_benchmark": exported_benchmark,
    "exported_stages": exported_stages,
    "exported_ap": exported_ap,
    "int8_layers": int8_layers,
    "recompute_benchmark": recompute_benchmark,
    "prediction_benchmark": prediction_benchmark,
    "gpu_benchmark": gpu_benchmark,
    "evaluation_benchmark": evaluation_benchmark,
    "machine": lambda: _results()["machine"],
    "tta_without": lambda: f"{_results()['test_time_augmentation']['mask_ap']:.3f}",
    "tta_with": lambda: f"{_results()['test_time_augmentation']['mask_ap_with_tta']:.3f}",
    "nuclei_mask_ap": lambda: _over_seeds(_results()["trainings"]["nuclei_crops"]["runs"], "mask_ap", 3),
    "nuclei_box_ap": lambda: _over_seeds(_results()["trainings"]["nuclei_crops"]["runs"], "box_ap", 3),
    "nuclei_nano_mask_ap": lambda: f"{_results()['nuclei_nano']['mask_ap']:.3f}",
    "nuclei_nano_box_ap": lambda: f"{_results()['nuclei_nano']['box_ap']:.3f}",
    "nuclei_whole_mask_ap": lambda: _over_seeds(_results()["trainings"]["nuclei"]["runs"], "mask_ap", 3),
    "demo_mask_ap": lambda: f"{_results()['demo']['mask'][0]:.3f}",
    "demo_minutes": lambda: f"{_results()['demo']['total_seconds'] / 60:.0f}",
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
