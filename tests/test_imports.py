"""What an import costs: the package is light, and no public name is a module's."""

import pkgutil
import subprocess
import sys

import pytest

import visionpe

HEAVY = {"lightning", "timm", "torchvision", "albumentations", "matplotlib", "jsonargparse"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `code`."""
    program = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(result.stdout.decode().split())


def test_import_visionpe_is_light() -> None:
    assert not loaded_by("import visionpe") & (HEAVY | {"torch"})
    everything = "import visionpe\nfor name in visionpe.__all__: getattr(visionpe, name)"
    modules = loaded_by(everything)
    assert not modules & HEAVY
    assert "torch" in modules


def test_the_proof_of_lightness_can_fail() -> None:
    assert "lightning" in loaded_by("import visionpe.tasks.toy")


def test_the_public_lists_agree() -> None:
    assert sorted(visionpe.__all__) == sorted(visionpe._HOME)
    for name in visionpe.__all__:
        assert getattr(visionpe, name).__name__ == name
        assert name in dir(visionpe)


def test_no_module_has_a_public_name() -> None:
    """`from visionpe import grid` would give one or the other, by the order of imports."""
    modules = {module.name for module in pkgutil.iter_modules(visionpe.__path__)}
    assert "grids" in modules
    assert not modules & set(visionpe.__all__)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'visionpe' has no attribute 'Rotarry'"):
        _ = visionpe.Rotarry
