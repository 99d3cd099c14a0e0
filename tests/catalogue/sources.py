"""Records of what starts a map and of scalars: constant, Fourier input, diffusion step, flow."""

from typing import Any

import torch
from record import Kind, Record, Sample

from visionpe import FlowEmbedding, FourierInput, LearnedConstant, StepEmbedding


def latent(
    sample: Sample, size: tuple[int, int], batch: int, dtype: torch.dtype
) -> tuple[Any, ...]:
    """A latent as wide as the sample's channels; the size of the map is the source's own."""
    return (torch.randn(batch, sample.channels, dtype=dtype),)


def steps(sample: Sample, size: tuple[int, int], batch: int, dtype: torch.dtype) -> tuple[Any, ...]:
    """Whole steps: their dtype is not the layers'."""
    return (torch.randint(0, 1000, (batch,)),)


def map_and_flow(
    sample: Sample, size: tuple[int, int], batch: int, dtype: torch.dtype
) -> tuple[Any, ...]:
    """A map, and which flow each of its samples is in."""
    x = torch.randn(batch, sample.channels, *size, dtype=dtype)
    return (x, torch.randint(0, 4, (batch,)))


RECORDS = [
    Record(
        encoding=LearnedConstant,
        kind=Kind.OTHER,
        source="1812.04948",
        samples=(
            Sample(lambda: LearnedConstant(8)),
            Sample(lambda: LearnedConstant(5, 2, 7, init="randn"), channels=3),
        ),
        laws=(
            "test_constant.py::test_every_sample_gets_the_same_cells_whatever_its_latent",
            "test_constant.py::test_its_gradient_is_the_sum_over_the_samples",
            "test_constant.py::test_a_change_of_a_cell_is_a_change_of_that_cell_in_all_samples",
        ),
        not_laws=("test_constant.py::test_ones_hold_no_position_and_a_draw_does",),
        oracles=("test_constant.py::test_it_is_the_papers_constant",),
        inputs=latent,
        no_export="the size of the map is the module's own, not an input's",
    ),
    Record(
        encoding=FourierInput,
        kind=Kind.OTHER,
        source="2106.12423",
        samples=(
            Sample(lambda: FourierInput(6, 5, 7, latent=4), channels=4),
            Sample(
                lambda: FourierInput(3, 8, 4, sampling_rate=8.0, bandwidth=1.5, latent=2),
                channels=2,
            ),
            Sample(lambda: FourierInput(4, 1, 6)),
        ),
        laws=(
            "test_fourier_input.py::"
            "test_a_translation_of_the_transform_is_a_translation_of_the_map",
            "test_fourier_input.py::test_a_rotation_of_the_transform_is_a_rotation_of_the_map",
            "test_fourier_input.py::test_a_crop_of_the_source_is_the_crop_of_the_whole",
            "test_fourier_input.py::test_a_pixel_has_one_value_at_every_scale",
            "test_fourier_input.py::"
            "test_a_learned_translation_does_not_depend_on_the_length_of_the_rotation",
            "test_fourier_input.py::test_what_cannot_be_sampled_fades_out",
        ),
        not_laws=("test_fourier_input.py::test_a_map_is_not_its_own_shift_and_two_sources_differ",),
        oracles=(
            "test_fourier_input.py::test_it_is_the_papers_formula",
            "test_fourier_input.py::test_torchs_sampling_grid_gives_the_same_coordinates",
        ),
        inputs=latent,
        no_export="the size of the map is the module's own, not an input's",
    ),
    Record(
        encoding=StepEmbedding,
        kind=Kind.OTHER,
        source="2006.11239",
        samples=(
            Sample(lambda: StepEmbedding(8)),
            Sample(lambda: StepEmbedding(7, 5, adm=True, max_period=100.0)),
        ),
        laws=(
            "test_step.py::test_products_of_codes_depend_on_the_difference_of_the_steps_only",
            "test_step.py::test_a_step_has_one_code_alone_and_in_a_batch",
            "test_step.py::test_steps_up_to_65536_have_the_nearest_code_in_any_dtype",
        ),
        not_laws=(
            "test_step.py::test_steps_given_in_bfloat16_collide_and_integers_do_not",
            "test_step.py::test_the_forms_differ_as_much_as_codes_can",
        ),
        oracles=(
            "test_step.py::test_each_form_is_its_formula",
            "test_step.py::test_a_peers_one_dimensional_code_is_adms_with_its_channels_interleaved",
        ),
        inputs=steps,
    ),
    Record(
        encoding=FlowEmbedding,
        kind=Kind.OTHER,
        source="2006.06280",
        samples=(
            Sample(lambda: FlowEmbedding(4, 8, width=6, zero_init=False)),
            Sample(lambda: FlowEmbedding(5, 3, width=7, zero_init=False), channels=3),
            Sample(lambda: FlowEmbedding(4, 8, width=6)),
        ),
        laws=(
            "test_flow_step.py::test_it_starts_as_the_identity_in_every_flow",
            "test_flow_step.py::test_a_flow_learns_its_own_row_and_no_other",
            "test_flow_step.py::"
            "test_the_shift_is_the_embedding_concatenated_before_a_1x1_convolution",
        ),
        not_laws=(
            "test_flow_step.py::test_two_flows_do_not_do_the_same_and_a_flow_knows_no_place",
            "test_flow_step.py::test_with_the_papers_draw_it_is_not_the_identity",
        ),
        oracles=("test_flow_step.py::test_it_is_the_formula",),
        inputs=map_and_flow,
        no_grad={"table": "at zero initialisation the projection of the table is zero"},
    ),
]
