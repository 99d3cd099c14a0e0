"""The error of a model that cannot be folded, or is used as a folded one cannot be."""

from visionpe.errors import VisionPEError


class FoldError(VisionPEError):
    """A folded model differs, or was given what it was not folded for; the message says which."""
