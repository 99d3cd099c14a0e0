"""The error of an encoding that is attached, but cannot act in a call."""

from visionpe.errors import VisionPEError


class AttachError(VisionPEError):
    """An attached encoding cannot act as it was attached to; the message says what to do."""
