"""The SiamMask network: backbones, correlation branches, mask refinement."""

from model.network.siammask import Features, Response, SiamMask, SiamMaskConfig, Template, vectors_at

__all__ = ["Features", "Response", "SiamMask", "SiamMaskConfig", "Template", "vectors_at"]
