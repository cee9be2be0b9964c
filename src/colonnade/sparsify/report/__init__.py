"""The report of a run: a page for people, JSON for programs."""

from colonnade.sparsify.report.report import LayerRow, Report, build_report, write_report
from colonnade.sparsify.speed import Speed

__all__ = ["LayerRow", "Report", "Speed", "build_report", "write_report"]
