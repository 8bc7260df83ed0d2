"""From labels that people drew to a manifest of the service."""

from pipeline.manifest_builder.build import Built, build_manifest
from pipeline.manifest_builder.labelled_video import LabelError

__all__ = ["Built", "LabelError", "build_manifest"]
