"""The report of a run: figures for machines (`report.json`) and a page for people (`report.html`)."""

from pipeline.report.figures import Figures, collect
from pipeline.report.page import render_page

__all__ = ["Figures", "collect", "render_page"]
