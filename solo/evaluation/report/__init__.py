"""A report of an evaluation: what a model gets wrong, where, and at which scores."""

from __future__ import annotations

from solo.evaluation.report.writing import check_report, report_files, write_report

__all__ = ["check_report", "report_files", "write_report"]
