"""A page of one or more runs: figures, tables, what was run and on what."""

from visionpe.report.folder import check_folder, write
from visionpe.report.page import make
from visionpe.report.run import Files, Run, read_files

__all__ = ["Files", "Run", "check_folder", "make", "read_files", "write"]
