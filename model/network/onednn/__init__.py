"""The network as a CPU computes it fastest. What it computes is in `model.network.siammask`."""

from model.network.onednn.int8 import Int8SiamMask, quantise
from model.network.onednn.network import FusedSiamMask, fuse

__all__ = ["FusedSiamMask", "Int8SiamMask", "fuse", "quantise"]
