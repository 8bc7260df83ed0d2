"""The report of a run: figures for machines (`report.json`) and a page for people (`report.html`)."""

from pipeline.report.figures import FigureReader, Figures, RunFacts, collect
from pipeline.report.make import write_report

__all__ = ["FigureReader", "Figures", "RunFacts", "collect", "write_report"]
