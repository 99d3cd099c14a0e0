"""Records of encodings of maps by convolution, by height, by made weights and by learned waves."""

from typing import Any

import torch
from record import Kind, Record, Sample

from visionpe import (
    PEG,
    AppendComplexOrder,
    ComplexOrder,
    ConvolutionalContext1d,
    ConvolutionalContext2d,
    HeightAttention,
    HyperConv2d,
    HyperScale,
)


def sequence(
    sample: Sample, size: tuple[int, int], batch: int, dtype: torch.dtype
) -> tuple[Any, ...]:
    """A sequence as long as the map has cells."""
    return (torch.randn(batch, sample.channels, size[0] * size[1], dtype=dtype),)


RECORDS = [
    Record(
        encoding=PEG,
        kind=Kind.MAP,
        source="2102.10882",
        samples=(
            Sample(lambda: PEG(8, zero_init=False)),
            Sample(
                lambda: PEG(
                    5, kernel_size=5, padding_mode="replicate", bias=False, zero_init=False
                ),
                channels=5,
            ),
            Sample(
                lambda: PEG(3, padding_mode="reflect", zero_init=False),
                channels=3,
                sizes=((5, 7), (8, 4), (2, 6)),
            ),
        ),
        laws=(
            "test_conditional.py::test_a_shift_moves_the_interior_with_it_and_not_the_border",
            "test_conditional.py::"
            "test_it_starts_as_the_identity_and_every_parameter_has_a_gradient",
            "test_conditional.py::test_of_a_constant_map_only_zero_padding_tells_a_cells_place",
        ),
        not_laws=(
            "test_conditional.py::test_only_circular_padding_commutes_with_every_circular_shift",
            "test_conditional.py::"
            "test_attention_after_it_is_not_permutation_equivariant_and_without_it_is",
        ),
        oracles=(
            "test_conditional.py::test_timms_has_the_same_output_for_maps_and_tokens",
            "test_conditional.py::test_any_size_is_the_depthwise_convolution_added",
        ),
    ),
    Record(
        encoding=ConvolutionalContext2d,
        kind=Kind.MAP,
        source="2006.11477",
        samples=(
            Sample(lambda: ConvolutionalContext2d(8, groups=2, kernel_size=3, zero_init=False)),
            Sample(
                lambda: ConvolutionalContext2d(
                    6,
                    groups=3,
                    kernel_size=4,
                    padding_mode="replicate",
                    weight_norm=True,
                    zero_init=False,
                ),
                channels=6,
            ),
        ),
        laws=(
            "test_convolutional_context.py::test_it_starts_as_the_identity_and_learns",
            "test_convolutional_context.py::test_it_starts_with_the_papers_variance",
            "test_convolutional_context.py::"
            "test_tokens_of_a_lattice_are_the_map_and_others_keep_their_value",
        ),
        not_laws=(
            "test_convolutional_context.py::"
            "test_a_circular_one_commutes_with_every_shift_and_a_zero_padded_one_does_not",
        ),
        oracles=("test_convolutional_context.py::test_on_a_map_it_is_the_same_formula",),
    ),
    Record(
        encoding=ConvolutionalContext1d,
        kind=Kind.OTHER,
        source="2006.11477",
        samples=(
            Sample(lambda: ConvolutionalContext1d(8, groups=2, kernel_size=5, zero_init=False)),
            Sample(
                lambda: ConvolutionalContext1d(
                    6, groups=3, kernel_size=8, weight_norm=True, zero_init=False
                ),
                channels=6,
            ),
        ),
        laws=(
            "test_convolutional_context.py::test_it_starts_with_the_papers_variance",
            "test_convolutional_context.py::test_on_a_sequence_it_is_wav2vecs_block",
            "test_convolutional_context.py::test_half_precision_keeps_the_dtype",
        ),
        not_laws=(
            "test_convolutional_context.py::test_a_reversed_sequence_is_not_the_reversed_context",
        ),
        oracles=("test_convolutional_context.py::test_on_a_sequence_it_is_wav2vecs_block",),
        inputs=sequence,
    ),
    Record(
        encoding=HeightAttention,
        kind=Kind.MAP,
        source="2003.05128",
        samples=(
            Sample(lambda: HeightAttention(8, reduction=2)),
            Sample(
                lambda: HeightAttention(6, reduction=4, bands=5, rows=20, dropout=0.0, jitter=1.0),
                channels=6,
            ),
        ),
        laws=(
            "test_height.py::test_the_gate_depends_on_height_only_and_is_between_zero_and_one",
            "test_height.py::test_permuted_columns_leave_the_gate_and_permuted_rows_do_not",
            "test_height.py::test_a_mirrored_view_with_its_frame_has_the_gate_of_the_image",
            "test_height.py::test_rows_count_the_same_at_every_resolution",
        ),
        not_laws=(
            "test_height.py::test_without_the_rows_code_it_does_not_know_up_from_down",
            "test_height.py::test_a_crop_has_the_rows_of_the_image_and_not_its_own",
        ),
        oracles=(
            "test_height.py::test_the_whole_is_the_papers_layers_in_the_papers_order",
            "test_height.py::test_the_rows_code_is_the_papers_formula",
            "test_height.py::test_band_means_are_torchs_adaptive_pooling",
            "test_height.py::test_it_has_the_papers_parameters",
        ),
        random=True,
    ),
    Record(
        encoding=HyperScale,
        kind=Kind.POINT,
        source="1609.09106",
        samples=(
            Sample(lambda: HyperScale(8, zero_init=False)),
            Sample(lambda: HyperScale(3, hidden=5, zero_init=False), channels=3),
        ),
        laws=(
            "test_hypernetwork.py::test_it_starts_as_the_identity_and_learns",
            "test_hypernetwork.py::"
            "test_a_cell_has_its_own_weights_in_the_image_a_crop_and_a_resize",
            "test_hypernetwork.py::test_a_scale_is_the_same_at_every_resolution",
            "test_hypernetwork.py::test_what_is_added_does_not_depend_on_the_image",
        ),
        not_laws=(
            "test_hypernetwork.py::"
            "test_shifts_change_what_is_done_to_a_cell_and_constant_weights_do_not",
        ),
        oracles=(
            "test_hypernetwork.py::test_a_scale_is_a_perceptron_of_the_coordinates_at_each_cell",
        ),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=HyperConv2d,
        kind=Kind.MAP,
        source="1609.09106",
        samples=(
            Sample(lambda: HyperConv2d(8, zero_init=False)),
            Sample(
                lambda: HyperConv2d(6, kernel_size=5, groups=2, hidden=4, zero_init=False),
                channels=6,
            ),
        ),
        laws=(
            "test_hypernetwork.py::test_it_starts_as_the_identity_and_learns",
            "test_hypernetwork.py::"
            "test_a_cell_has_its_own_weights_in_the_image_a_crop_and_a_resize",
            "test_hypernetwork.py::test_what_is_added_does_not_depend_on_the_image",
        ),
        not_laws=(
            "test_hypernetwork.py::"
            "test_shifts_change_what_is_done_to_a_cell_and_constant_weights_do_not",
        ),
        oracles=(
            "test_hypernetwork.py::"
            "test_a_convolution_of_another_kernel_at_each_cell_is_unfold_and_a_product",
            "test_hypernetwork.py::"
            "test_with_one_kernel_for_all_cells_it_is_torchs_depthwise_convolution",
            "test_hypernetwork.py::test_a_convolutions_kernel_is_a_perceptron_of_the_coordinates",
        ),
    ),
    Record(
        encoding=ComplexOrder,
        kind=Kind.POINT,
        source="1912.12333",
        samples=(
            Sample(lambda: ComplexOrder(8, zero_init=False), scale_free=False),
            Sample(
                lambda: ComplexOrder(6, temperature=20.0, cells=(9, 7), zero_init=False),
                channels=6,
            ),
        ),
        laws=(
            "test_complex_order.py::"
            "test_a_shift_multiplies_by_a_number_that_does_not_depend_on_the_place",
            "test_complex_order.py::test_it_is_bounded_by_the_amplitude_everywhere",
            "test_complex_order.py::test_products_depend_on_differences_only",
            "test_complex_order.py::test_a_pixel_has_one_code_in_the_image_a_crop_and_a_flip",
        ),
        not_laws=(
            "test_complex_order.py::"
            "test_a_shift_multiplies_by_a_number_that_does_not_depend_on_the_place",
        ),
        oracles=(
            "test_complex_order.py::test_it_is_the_papers_complex_number",
            "test_complex_order.py::test_it_starts_with_the_waves_of_the_fixed_sinusoid",
        ),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=AppendComplexOrder,
        kind=Kind.POINT,
        source="1912.12333",
        samples=(
            Sample(lambda: AppendComplexOrder(4, zero_init=False), channels=3, scale_free=False),
            Sample(
                lambda: AppendComplexOrder(6, temperature=20.0, cells=(9, 7), zero_init=False),
                channels=1,
            ),
        ),
        laws=(
            "test_complex_order.py::test_it_is_bounded_by_the_amplitude_everywhere",
            "test_complex_order.py::test_tokens_are_encoded_as_the_maps_cells_are",
            "test_complex_order.py::test_it_starts_as_the_identity_and_every_parameter_learns",
        ),
        not_laws=(
            "test_complex_order.py::"
            "test_a_shift_multiplies_by_a_number_that_does_not_depend_on_the_place",
        ),
        oracles=("test_complex_order.py::test_it_is_the_papers_complex_number",),
        absolute=True,
        scale_free=True,
    ),
]
