"""The type of the `visionpe` fixture."""

from collections.abc import Callable

Visionpe = Callable[..., tuple[int, str]]
