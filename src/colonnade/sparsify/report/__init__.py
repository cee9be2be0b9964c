"""The report of a run: a page for people, JSON for programs."""

from colonnade.sparsify.report.report import LayerRow, Report, Speed, build_report, write_report

__all__ = ["LayerRow", "Report", "Speed", "build_report", "write_report"]
