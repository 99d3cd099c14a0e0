"""A page of one or more runs, or of a sweep: figures, tables, what was run and on what."""

from visionpe.report.folder import check_folder, write
from visionpe.report.page import make
from visionpe.report.run import Files, Run, read_files
from visionpe.report.sweep import is_sweep, read_sweep
from visionpe.report.sweep_page import make_sweep

__all__ = [
    "Files",
    "Run",
    "check_folder",
    "is_sweep",
    "make",
    "make_sweep",
    "read_files",
    "read_sweep",
    "write",
]
