"""The errors of what cannot be probed although the call is right."""

from visionpe.errors import VisionPEError


class ProbeError(VisionPEError):
    """The images cannot be read or differ from pass to pass, or the features are not finite."""


class FeatureError(ProbeError):
    """A layer's features are not finite, or not of the shape that was traced."""
