"""The error of a source of position that cannot be taken out."""

from visionpe.errors import VisionPEError


class RemoveError(VisionPEError):
    """What a model has cannot be taken out as it stands; the message says what to do instead."""
