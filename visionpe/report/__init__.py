"""A page of one or more runs: figures, tables, what was run and on what."""

from visionpe.report.page import check_folder, make, write
from visionpe.report.run import Files, Run, read_files

__all__ = ["Files", "Run", "check_folder", "make", "read_files", "write"]
