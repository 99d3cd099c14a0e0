"""How `visionpe.check` is called and what it gives back."""

import json
import re
from typing import Any

import broken
import pytest
import torch
from torch import nn

from visionpe import AddCoords, CoordConv2d, Learned2d, Sinusoidal2d, check
from visionpe.checking.kit import CHECKS

pytestmark = pytest.mark.usefixtures("unchecked")
QUICK = ["inputs_untouched", "deterministic", "gradients"]


def test_a_result_is_a_table_a_sequence_and_plain_data() -> None:
    result = check(broken.WritesInput, layout="bhwc", channels=8, only=QUICK)
    assert not result.passed
    assert [f.name for f in result] == QUICK
    assert len(result) == 3
    assert [f.name for f in result.failures] == ["inputs_untouched"]
    assert str(result) == (
        "WritesInput()\n"
        "inputs_untouched  failed   changes its input in place\n"
        "deterministic     ok       two calls are equal\n"
        "gradients         skipped  has no trainable parameters\n"
        "1 ok, 1 failed, 1 skipped"
    )
    data = json.loads(json.dumps(result.to_dict()))
    assert data["passed"] is False
    assert data["findings"][0]["outcome"] == "failed"
    names = "inputs_untouched, deterministic, gradients"
    with pytest.raises(KeyError, match=f"`name` must be one of {names}, but is onnx."):
        _ = result["onnx"]


def test_show_prints_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    check(Sinusoidal2d(), only=QUICK).show()
    printed = capsys.readouterr().out
    for word in (*QUICK, "ok", "skipped", "2 ok, 0 failed, 1 skipped"):
        assert word in printed


def test_the_module_given_and_the_random_numbers_are_left_as_they_were() -> None:
    module = CoordConv2d(8, 4, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    check(module, layout="bchw", channels=8, only=QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    assert module.training
    assert all(p.grad is None for p in module.parameters())


def test_a_class_a_function_and_a_module_are_the_same_subject() -> None:
    texts = {str(check(m, only=QUICK)) for m in (AddCoords, lambda: AddCoords(), AddCoords())}
    assert len(texts) == 1


def test_a_module_with_other_arguments_is_checked_with_inputs() -> None:
    class OfTime(nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return x + t[:, None, None, None].to(x.dtype)

    def inputs(h: int, w: int, batch: int, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.randn(batch, 3, h, w).to(device, dtype), torch.arange(batch, device=device)

    names = ["single_cells", "bfloat16_module", "stale_dtype", "copies", "export"]
    result = check(OfTime, inputs=inputs, only=names)
    assert [f.name for f in result.failures] == ["copies"], result  # a local class has no pickle


def test_only_the_sizes_given_are_tried() -> None:
    tried = set()

    class Notes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tried.add(tuple(x.shape[-2:]))
            return x * 1

    sizes = [(4, 6), (6, 4), (2, 3)]
    names = [name for name in CHECKS if name not in ("compiled", "export", "onnx", "copies")]
    assert check(Notes, layout="bchw", channels=4, sizes=sizes, only=names).passed
    assert {size for size in tried if max(size) < 60} == set(sizes)


class Four(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != 4:
            raise ValueError(f"`x` must have 4 channels, but has {x.shape[1]}.")
        return x * 2


LAYOUTS = (
    "`bchw` (a map, channels second), `bhwc` (a map, channels last), `bnc` (tokens), "
    "`q` (queries (or keys) `b heads n d`), `qk` (queries and keys, two arguments)"
)


@pytest.mark.parametrize(
    ("subject", "options", "kind", "says"),
    [
        (
            3,
            {},
            TypeError,
            "`module_or_factory` must be an nn.Module or something that makes one, but is int.",
        ),
        (
            dict,
            {},
            TypeError,
            "`module_or_factory` must make an nn.Module, but dict() gives dict.",
        ),
        (
            nn.Linear,
            {},
            ValueError,
            "`module_or_factory` must make a module without arguments, but Linear() gives "
            "TypeError: Linear.__init__() missing 2 required positional arguments: 'in_features' "
            "and 'out_features'. Give `lambda: Linear(...)`, or a function that calls it.",
        ),
        (
            nn.Identity,
            {},
            ValueError,
            f"`layout` must be one of {LAYOUTS}, but is None. Or give `inputs`, which makes the "
            "arguments of a call.",
        ),
        (
            nn.Identity,
            {"layout": "bcwh"},
            ValueError,
            f"`layout` must be one of {LAYOUTS}, but is 'bcwh'. Or give `inputs`, which makes the "
            "arguments of a call.",
        ),
        (
            nn.Identity,
            {"layout": "bnc"},
            ValueError,
            "`channels` must be given for the layout 'bnc', but is not.",
        ),
        (
            nn.Identity,
            {"layout": "q", "heads": 2, "head_dim": 0},
            ValueError,
            "`head_dim` must be at least 1, but is 0.",
        ),
        (
            nn.Identity,
            {"layout": "bnc", "channels": 4, "method": "rotate"},
            ValueError,
            "`method` must be a method of Identity, but it has no 'rotate'.",
        ),
        (
            Sinusoidal2d,
            {"only": ["stale_sizes"]},
            ValueError,
            f"`only` must name checks of {', '.join(CHECKS)}, but has 'stale_sizes'. "
            "Did you mean `stale_size`?",
        ),
        (
            Four,
            {"layout": "bchw", "channels": 6},
            ValueError,
            "`module_or_factory` must take what `layout` says, 'bchw' with channels=6, but raises "
            "ValueError: `x` must have 4 channels, but has 6. Say other widths, another `layout`, "
            "or `inputs`.",
        ),
    ],
)
def test_wrong_use_is_refused_with_a_remedy(
    subject: Any, options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=f"^{re.escape(says)}$"):
        check(subject, **options)


@pytest.mark.parametrize("under", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same_verdicts(under: Any) -> None:
    names = ["modes", "gradients", "stale_dtype"]
    wanted = check(Learned2d(8, (5, 7)), only=names)
    with under():
        found = check(Learned2d(8, (5, 7)), only=names)
        assert not torch.is_grad_enabled()
    assert [f.outcome for f in found] == [f.outcome for f in wanted]
    assert found["gradients"].outcome.value == "ok"
