"""The report as one HTML file without scripts, which opens from a folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from solo.evaluation.report.charts import Line, line_chart, text
from solo.evaluation.report.measures import ERROR_KINDS, MATCH_IOU, SCORES, ClassMeasures, Measures
from solo.evaluation.report.mistakes import ImageMistakes

MARK = "solo evaluation report"
MAX_CURVES = 10
"""Classes whose curves are shown: those with the most objects."""

MAX_MATRIX = 30
"""Classes up to which the confusion matrix is shown whole."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h2 { margin-top: 2em; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
td, th { padding: .2em .7em; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.charts, .images { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1em; }
figure { margin: 0; } figcaption { font-size: 13px; overflow-wrap: anywhere; }
figcaption span { margin-right: 1em; white-space: nowrap; }
figcaption i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; }
svg { width: 100%; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.grid { stroke: var(--line); fill: none; } .scroll { overflow-x: auto; }
.images img { width: 100%; } .note { color: #777; max-width: 75ch; }
"""


def render_page(
    measures: Measures,
    mistakes: Sequence[ImageMistakes],
    *,
    title: str,
    worst: Sequence[tuple[str, ImageMistakes, str | None]],
    boundary_ap: float | None = None,
) -> str:
    """Render the page.

    Args:
        measures: the numbers.
        mistakes: of all images.
        title: what was evaluated.
        worst: name, mistakes and `data:` URL of the images to show, the worst first; None for one without pixels.
        boundary_ap: shown beside mask AP; None where it was not computed.
    """
    sections = [
        f"<h1>{text(title)}</h1>",
        _summary(measures, boundary_ap),
        _curves(measures),
        _classes(measures, mistakes),
        _confusion(measures),
        _errors(measures),
        _sharing(mistakes),
        _groups(measures),
        _calibration(measures),
        _worst(worst, threshold=measures.overall.scores.best_threshold),
    ]
    head = f'<meta charset="utf-8"><title>{text(title)}</title><style>{STYLE}</style>'
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f'<!DOCTYPE html>\n<!-- {MARK} -->\n<html lang="en"><head>{head}{viewport}</head><body>\n' + (
        "\n".join(sections) + "\n</body></html>\n"
    )


def _summary(measures: Measures, boundary_ap: float | None) -> str:
    overall = measures.overall
    cells = [
        measures.images,
        overall.objects,
        overall.detections,
        *map(_ap, (overall.ap, overall.ap_50, overall.ap_75)),
        *([] if boundary_ap is None else [_ap(boundary_ap)]),
    ]
    header = ["images", "objects", "detections", "mask AP", "AP 50", "AP 75", "boundary AP"]
    table = _table(header[: len(cells)], [cells])
    if math.isnan(overall.scores.best_threshold):
        return table + "<p>No detection finds an object, whatever its score.</p>"
    scores = overall.scores
    return table + (
        f"<p>From score <b>{scores.best_threshold:.3f}</b> up the detections have the best F1, {scores.f1:.3f}: "
        f"{scores.precision:.1%} of them are correct and {scores.recall:.1%} of the objects are found. What follows "
        f"counts masks that match at IoU {MATCH_IOU} as correct; single mistakes are those of detections from that "
        "score up.</p>"
    )


def _curves(measures: Measures) -> str:
    shown = [one for one in measures.classes if one.objects]
    shown = sorted(shown, key=lambda one: -one.objects)[:MAX_CURVES] if len(measures.classes) > 1 else []
    recalls = np.linspace(0, 1, 101)
    lines = [measures.overall, *shown]
    precision = [Line(one.name, recalls, np.maximum(one.precision, 0)) for one in lines]
    f1 = [Line(one.name, SCORES, one.scores.curve) for one in lines]
    charts = [
        line_chart(precision, title="precision over recall", x_label="recall", y_label="precision"),
        line_chart(f1, title="F1 over score", x_label="score threshold", y_label="F1"),
    ]
    left_out = sum(one.objects > 0 for one in measures.classes) - len(shown)
    note = f'<p class="note">The {MAX_CURVES} classes with the most objects are shown, {left_out} are not.</p>'
    return _section("Precision, recall and F1", _div("charts", charts) + (note if shown and left_out else ""))


def _classes(measures: Measures, mistakes: Sequence[ImageMistakes]) -> str:
    merged = Counter(label for image in mistakes for label, _ in image.merged)
    split = Counter(label for image in mistakes for label, _ in image.split)
    header = [
        "class",
        "objects",
        "AP",
        "AP 50",
        "AP 75",
        "best threshold",
        "precision",
        "recall",
        "F1",
        "merged",
        "split",
    ]
    rows = [_class_row(one, merged[label], split[label]) for label, one in enumerate(measures.classes)]
    note = (
        "Precision, recall and F1 are those at the best threshold of the class. Merged: masks of two or more objects. "
    )
    note += "Split: objects with two or more masks."
    return _section("Classes", _table(header, rows) + f'<p class="note">{note}</p>')


def _class_row(one: ClassMeasures, merged: int, split: int) -> list[object]:
    scores = one.scores
    threshold = "-" if math.isnan(scores.best_threshold) else f"{scores.best_threshold:.3f}"
    at_best = [f"{value:.3f}" for value in (scores.precision, scores.recall, scores.f1)]
    return [one.name, one.objects, *map(_ap, (one.ap, one.ap_50, one.ap_75)), threshold, *at_best, merged, split]


def _confusion(measures: Measures) -> str:
    names = [*(one.name for one in measures.classes), "background"]
    matrix = measures.confusion
    note = (
        '<p class="note">Rows: class of the object. Columns: class of the mask that matches it. Background: objects '
        "without a mask, masks without an object.</p>"
    )
    if len(measures.classes) <= MAX_MATRIX:
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        rows = "".join(
            f"<tr><td>{text(name)}</td>"
            + "".join(
                f'<td style="background:rgba(48,87,213,{share:.2f})">{count}</td>'
                for count, share in zip(counts.tolist(), row.tolist(), strict=True)
            )
            + "</tr>"
            for name, counts, row in zip(names, matrix, shares, strict=True)
        )
        table = f"<table>{_header(['', *names])}{rows}</table>"
        return _section("Confusion of classes", f'<div class="scroll">{table}</div>{note}')
    classes = matrix[:-1, :-1].copy()
    np.fill_diagonal(classes, 0)
    largest = np.argsort(-classes, axis=None, kind="stable")[:MAX_MATRIX]
    pairs = [np.unravel_index(index, classes.shape) for index in largest if classes.flat[index]]
    rows_list = [[names[row], names[column], int(classes[row, column])] for row, column in pairs]
    return _section("Confusion of classes", _table(["object", "taken for", "masks"], rows_list) + note)


def _errors(measures: Measures) -> str:
    rows = [
        [ERROR_KINDS[kind], count, f"{gain:.3f}"]
        for kind, (gain, count) in sorted(measures.errors.items(), key=lambda item: -item[1][0])
    ]
    note = (
        '<p class="note">TIDE\'s kinds of errors, at any score. The last column is what AP 50 would gain if all errors '
        "of the kind were mended, and no others.</p>"
    )
    return _section("Errors by kind", _table(["error", "number", "AP 50 gained"], rows) + note)


def _sharing(mistakes: Sequence[ImageMistakes]) -> str:
    rows = []
    for name, groups in (
        ("masks of several objects (merged)", [count for image in mistakes for _, count in image.merged]),
        ("objects with several masks (split)", [count for image in mistakes for _, count in image.split]),
    ):
        images = sum(bool(image.merged if "merged" in name else image.split) for image in mistakes)
        rows.append([name, len(groups), sum(groups), images])
    note = (
        '<p class="note">A mask is one of several objects if more than half of each of them lies in it and no other '
        "mask finds them. An object has several masks if each lies mostly in it, covers a tenth of it, and they do not "
        "repeat each other. Many merged objects: more cells (num_grids), or larger images.</p>"
    )
    header = ["", "number", "objects or masks in them", "images"]
    return _section("Merged and split instances", _table(header, rows) + note)


def _groups(measures: Measures) -> str:
    tables = []
    for name, groups in (("size of the object, pixels", measures.by_size), ("objects in the image", measures.by_count)):
        rows = [[group, _ap(ap), _ap(ap_50), objects, images] for group, (ap, ap_50, objects, images) in groups.items()]
        tables.append(_table([name, "AP", "AP 50", "objects", "images"], rows))
    return _section("AP by size and by number of objects", "".join(tables))


def _calibration(measures: Measures) -> str:
    bins, error = measures.calibration
    if not bins:
        return ""
    scores, shares, _ = (np.array(column) for column in zip(*bins, strict=True))
    chart = line_chart(
        [Line("share of correct masks", scores, shares)],
        title="share of correct masks over score",
        x_label="score",
        y_label="correct",
        diagonal=True,
    )
    note = f'<p class="note">Expected calibration error {error:.3f}; on the dashed line a score is a probability.</p>'
    return _section("Scores as probabilities", _div("charts", [chart]) + note)


def _worst(worst: Sequence[tuple[str, ImageMistakes, str | None]], *, threshold: float) -> str:
    figures = []
    for name, mistakes, url in worst:
        kinds = "; ".join(f"{kind}: {count}" for kind, count in mistakes.kinds.most_common())
        pixels = f'<img src="{url}" alt="">' if url else "<p>The image cannot be read.</p>"
        objects = f"{len(mistakes.objects)} objects, {len(mistakes.detections)} masks. {kinds}"
        figures.append(f"<figure>{pixels}<figcaption><b>{text(name)}</b><br>{text(objects)}</figcaption></figure>")
    if not figures:
        return _section("Worst images", "<p>No image has a mistake.</p>")
    note = (
        f'<p class="note">The {len(figures)} images with the most mistakes at score {threshold:.3f}. '
        "Green: correct masks. Red: false masks. Blue: missed objects.</p>"
    )
    return _section("Worst images", note + _div("images", figures))


def _section(name: str, content: str) -> str:
    return f"<h2>{text(name)}</h2>{content}"


def _div(kind: str, parts: Iterable[str]) -> str:
    return f'<div class="{kind}">{"".join(parts)}</div>'


def _header(names: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<th>{text(name)}</th>" for name in names) + "</tr>"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>{_header(header)}{body}</table></div>'


def _ap(value: float) -> str:
    return f"{value:.3f}" if value >= 0 else "-"
