"""Converters of published data sets, and of the service's own output, to the tables that training reads.

Each writes `sequences.parquet` and `masks.parquet` whose paths lead from the folder of the tables to the original
files, which stay where they are. A file that is missing or unreadable ends the conversion with a ConvertError that
names it, and no table is left behind.
"""

from model.training.convert.coco import convert_coco
from model.training.convert.davis import convert_davis
from model.training.convert.files import ConvertError
from model.training.convert.imagenet_vid import convert_imagenet_vid
from model.training.convert.service import convert_service
from model.training.convert.youtube_vos import convert_youtube_vos

__all__ = [
    "ConvertError",
    "convert_coco",
    "convert_davis",
    "convert_imagenet_vid",
    "convert_service",
    "convert_youtube_vos",
]
