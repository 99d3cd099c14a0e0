"""The error of a model that runs, but cannot be followed."""

from visionpe.errors import VisionPEError


class TraceError(VisionPEError):
    """The model can be run on such images, but `trace` cannot follow it."""
