"""From labels that people drew (CVAT, Label Studio, COCO-video, MOT) to a manifest of the service."""

from pipeline.manifest_builder.build import Built, build_manifest
from pipeline.manifest_builder.labels import LabelError

__all__ = ["Built", "LabelError", "build_manifest"]
