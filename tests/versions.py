"""Which torch runs the tests."""

import torch

BEFORE_2_11 = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 11)
