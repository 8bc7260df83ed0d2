"""Manifests: which clips a job is to process, read by Ray Data and checked as a whole before any work starts."""

from pipeline.clip_hashes import ABSENT, CHANGED, SAME, ClipHashes, digest
from pipeline.manifest.piece_reader import ClipRow
from pipeline.manifest.problems import ManifestError, Problem
from pipeline.manifest.read import Manifest, ManifestSummary, read_manifest

__all__ = [
    "ABSENT",
    "CHANGED",
    "SAME",
    "ClipHashes",
    "ClipRow",
    "Manifest",
    "ManifestError",
    "ManifestSummary",
    "Problem",
    "digest",
    "read_manifest",
]
