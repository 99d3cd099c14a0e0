"""The errors that end in a short message instead of a traceback.

Wrong arguments of functions and classes stay `ValueError` and `TypeError`; the errors here are of
what lies outside the program: files, configurations, folders. Each message says what is wrong,
with which file or key, and what to do.
"""


class VisionPEError(Exception):
    """The base of all errors below: `except VisionPEError` catches what a user can mend."""


class CheckpointError(VisionPEError):
    """A checkpoint file is missing, damaged, foreign or of another model."""


class ConfigError(VisionPEError):
    """A configuration file or command line says something that cannot be done."""


class DataError(VisionPEError):
    """A data set is missing, damaged, empty or at odds with itself, or cannot be downloaded."""


class GeometryError(DataError, ValueError):
    """An augmentation moves pixels by no affine map, so that no frame can say where they are."""


class RunFolderError(VisionPEError):
    """The folder of a run cannot be made or written."""
