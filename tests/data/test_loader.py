"""The loader of tensors in memory."""

import re

import pytest
import torch

from visionpe.data.loader import TensorLoader, stable_seed


def rows(loader: TensorLoader) -> list[list[int]]:
    return [batch[0].tolist() for batch in loader]


def test_batches_hold_the_rows_of_all_tensors_together() -> None:
    x = torch.randn(7, 2, 3)
    loader = TensorLoader(x, torch.arange(7), batch_size=3, shuffle=True)
    for points, index in loader:
        assert torch.equal(points, x[index])
    assert sorted(row for _, index in loader for row in index.tolist()) == list(range(7))


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [3, 3, 1]), (True, [3, 3])])
def test_the_length_is_the_number_of_batches(drop_last: bool, sizes: list[int]) -> None:
    loader = TensorLoader(torch.arange(7), batch_size=3, drop_last=drop_last)
    assert [len(batch[0]) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def test_without_shuffle_the_order_is_that_of_the_tensors() -> None:
    assert rows(TensorLoader(torch.arange(5), batch_size=2)) == [[0, 1], [2, 3], [4]]


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        loader = TensorLoader(torch.arange(50), batch_size=8, shuffle=True, seed=seed)
        loader.sampler.set_epoch(epoch)
        torch.rand(3)  # the global generator does not matter
        return rows(loader)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 0)
    assert order(0, 1) != order(1, 0)


def test_another_pass_without_a_new_epoch_repeats_the_order() -> None:
    loader = TensorLoader(torch.arange(20), batch_size=4, shuffle=True)
    assert rows(loader) == rows(loader)


def test_the_generators_of_the_program_are_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    rows(TensorLoader(torch.arange(9), batch_size=2, shuffle=True))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("yielded", [0, 1, 3, 4])
def test_a_restored_loader_yields_the_rest_of_its_epoch(yielded: int) -> None:
    def make() -> TensorLoader:
        return TensorLoader(torch.arange(19), batch_size=5, shuffle=True, seed=3)

    first = make()
    first.sampler.set_epoch(2)
    batches = iter(first)
    seen = [next(batches)[0].tolist() for _ in range(yielded)]
    second = make()
    if yielded:
        second.load_state_dict(first.state_dict())
    iterator = iter(second)
    second.sampler.set_epoch(2)  # Lightning sets the epoch after it makes the iterator
    rest = [batch[0].tolist() for batch in iterator]
    assert seen + rest == rows(first)


def test_a_restored_loader_starts_later_epochs_at_their_beginning() -> None:
    loader = TensorLoader(torch.arange(6), batch_size=2)
    loader.load_state_dict({"epoch": 1, "batches": 2})
    loader.sampler.set_epoch(2)
    assert len(rows(loader)) == 3
    loader.load_state_dict({"epoch": 1, "batches": 2})
    assert len(rows(loader)) == 1
    assert len(rows(loader)) == 3


def test_the_state_is_known_at_once_after_restoring() -> None:
    loader = TensorLoader(torch.arange(6), batch_size=2)
    loader.load_state_dict({"epoch": 1, "batches": 2})
    assert loader.state_dict() == {"epoch": 1, "batches": 2}


def test_processes_share_an_epoch_in_parts_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for rank in range(3):
        monkeypatch.setattr("visionpe.data.loader.processes", lambda rank=rank: (rank, 3))
        loader = TensorLoader(torch.arange(10), batch_size=3, shuffle=True)
        batches = rows(loader)
        assert len(batches) == len(loader) == 2
        seen += [row for batch in batches for row in batch]
    assert len(seen) == 12  # two of the ten come twice
    assert set(seen) == set(range(10))


def test_seeds_are_the_same_on_every_machine() -> None:
    assert stable_seed(0, 1) == 5973285143095172824  # the first 63 bits of SHA-256 of "(0, 1)"
    assert len({stable_seed(a, b) for a in range(20) for b in range(20)}) == 400


@pytest.mark.parametrize(
    ("tensors", "options", "says"),
    [
        (
            [],
            {"batch_size": 1},
            "`tensors` must be at least one tensor with a first axis of samples, but are [].",
        ),
        (
            [torch.tensor(1)],
            {"batch_size": 1},
            "`tensors` must be at least one tensor with a first axis of samples, but are [()].",
        ),
        (
            [torch.ones(2), torch.ones(3)],
            {"batch_size": 1},
            "`tensors` must have one length along their first axis, but have [2, 3].",
        ),
        ([torch.ones(2)], {"batch_size": 0}, "`batch_size` must be at least 1, but is 0."),
        (
            [torch.ones(2)],
            {"batch_size": 3, "drop_last": True},
            "`batch_size` must be at most the 2 samples there are when `drop_last` is set, "
            "but is 3; no batch would be left.",
        ),
    ],
)
def test_wrong_arguments_are_refused(
    tensors: list[torch.Tensor], options: dict[str, int], says: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        TensorLoader(*tensors, **options)  # type: ignore[arg-type] # `drop_last` is a bool
