"""A checkpoint of the model alone loads after `attach`; half of an attachment does not."""

import copy
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from backbones import bias, facts, learned, vit
from safetensors.torch import save_file
from timm.models import load_checkpoint
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import visionpe
from visionpe import CoordConv, HeightAttention, Site

SIZE = (48, 80)
State = dict[str, Tensor]


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return vit(depth=2).eval()


def attached(seed: int = 0) -> nn.Module:
    """In attention, on a convolution, and on a map, with buffers that have counted."""
    net = model(seed)
    visionpe.attach(net, [bias, CoordConv()], name=["bias", "conv"], size=SIZE)
    visionpe.attach(net, _gate, at="patch_embed.proj", name="gate", size=SIZE)
    for parameter in net.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter, std=0.3)
    for buffer in net.get_submodule("visionpe.gate").buffers():
        buffer.fill_(7)
    return net


def _gate(site: Site) -> HeightAttention:
    return HeightAttention(site.shape[1])


def copied(net: nn.Module) -> State:
    return {key: tensor.clone() for key, tensor in net.state_dict().items()}


def inside(net: nn.Module) -> State:
    return {k: v for k, v in copied(net).items() if k.startswith("visionpe.")}


def same(one: State, other: State) -> bool:
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


def _deepcopied(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net)


def _pickled(net: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)  # type: ignore[no-any-return]


def _as_it_is(net: nn.Module) -> nn.Module:
    return net


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("way", [_as_it_is, _deepcopied, _pickled])
def test_a_base_checkpoint_loads_strictly_and_what_is_attached_keeps_its_values(
    way: Callable[[nn.Module], nn.Module], assign: bool
) -> None:
    original = attached()
    net, base, x = way(original), model(1), torch.randn(2, 3, *SIZE)
    kept, parameters = inside(net), dict(net.get_submodule("visionpe").named_parameters())
    result = net.load_state_dict(base.state_dict(), strict=True, assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert same(inside(net), kept)
    assert all(net.get_parameter(f"visionpe.{k}") is p for k, p in parameters.items())
    with visionpe.disabled(net):
        assert torch.equal(net(x), base(x))
    if way is not _as_it_is:  # a copy loads apart
        assert same(copied(original), copied(attached()))


def test_a_whole_checkpoint_still_fills_what_is_attached() -> None:
    one, other = attached(0), attached(1)
    other.load_state_dict(one.state_dict(), strict=True)
    assert same(copied(other), copied(one))


def test_half_an_attachment_is_an_error() -> None:
    net, state = attached(), copied(attached(1))
    left = [key for key in state if key.startswith("visionpe.conv")]
    half = {key: tensor for key, tensor in state.items() if key not in left}
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(half, strict=True)
    listed = ", ".join(f'"{key}"' for key in left)
    assert str(error.value) == (
        "Error(s) in loading state_dict for VisionTransformer:\n"
        f"\tMissing key(s) in state_dict: {listed}. "
    )
    assert net.load_state_dict(half, strict=False).missing_keys == left


def test_of_another_attachment_all_is_missing_and_unexpected() -> None:
    net = visionpe.attach(model(), learned, name="table", size=SIZE)
    other = visionpe.attach(model(), CoordConv(), name="conv", size=SIZE)
    result = net.load_state_dict(other.state_dict(), strict=False)
    assert result.missing_keys == list(inside(net))
    assert result.unexpected_keys == list(inside(other))
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict(other.state_dict(), strict=True)


def test_other_keys_that_are_missing_or_unexpected_are_errors_as_ever() -> None:
    net, state = attached(), model(1).state_dict()
    state["head.scale"] = state.pop("head.weight")
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state, strict=True)
    assert str(error.value) == (
        "Error(s) in loading state_dict for VisionTransformer:\n"
        '\tMissing key(s) in state_dict: "head.weight". \n'
        '\tUnexpected key(s) in state_dict: "head.scale". '
    )


def test_a_state_for_the_attached_module_itself_must_be_whole() -> None:
    net = attached()
    with pytest.raises(RuntimeError, match="Missing key"):
        net.get_submodule("visionpe").load_state_dict({}, strict=True)


def test_after_detach_the_model_is_strict_again() -> None:
    net, before = model(), facts(model())
    visionpe.attach(net, [bias, CoordConv()], name=["bias", "conv"], size=SIZE)
    visionpe.detach(net, "conv")
    net.load_state_dict(model().state_dict(), strict=True)
    visionpe.detach(net)
    assert facts(net) == before
    for module in net.modules():
        assert not module._load_state_dict_pre_hooks
        assert not module._load_state_dict_post_hooks
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "visionpe\.'):
        net.load_state_dict(attached().state_dict(), strict=True)


def test_a_failed_load_leaves_the_next_one_strict() -> None:
    net, state = attached(), copied(attached())
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict({}, strict=True)
    del state["visionpe.conv.patch_embed-proj.weight"]
    with pytest.raises(RuntimeError, match=r"visionpe\.conv\.patch_embed-proj\.weight"):
        net.load_state_dict(state, strict=True)


@pytest.mark.parametrize("file", ["base.safetensors", "base.pth"])
def test_timm_loads_a_base_checkpoint_strictly(tmp_path: Path, file: str) -> None:
    net, base, x = attached(), model(1), torch.randn(2, 3, *SIZE)
    kept = inside(net)
    if file.endswith("pth"):
        torch.save({"state_dict": base.state_dict()}, tmp_path / file)
    else:
        save_file(base.state_dict(), tmp_path / file)
    load_checkpoint(net, str(tmp_path / file), strict=True)
    assert same(inside(net), kept)
    with visionpe.disabled(net):
        assert torch.equal(net(x), base(x))


def test_wrapped_models_load_states_of_the_wrapped_base() -> None:
    def averaged(net: nn.Module) -> nn.Module:
        return AveragedModel(net)

    def within(net: nn.Module) -> nn.Module:
        return nn.ModuleDict({"backbone": net, "head": nn.Linear(3, 2)})

    def distributed(net: nn.Module) -> nn.Module:
        return DistributedDataParallel(net)

    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        for wrap in (averaged, within, distributed):
            net, other = wrap(attached()), wrap(attached(1))
            kept = {k: v for k, v in copied(net).items() if ".visionpe." in k}
            assert kept
            base = wrap(model(1))
            net.load_state_dict(base.state_dict(), strict=True)
            state = copied(net)
            assert all(torch.equal(state[k], v) for k, v in kept.items())
            assert all(torch.equal(state[k], v) for k, v in base.state_dict().items())
            whole = copied(other)
            del whole[next(iter(kept))]
            with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"\w+\.v"):
                net.load_state_dict(whole, strict=True)
    finally:
        dist.destroy_process_group()
