"""Write a run's masks in the formats of other tools, a clip at a time."""

from pipeline.export.errors import ExportError
from pipeline.export.job import ExportOptions, Format, export_run
from pipeline.export.vot import Region

__all__ = ["ExportError", "ExportOptions", "Format", "Region", "export_run"]
