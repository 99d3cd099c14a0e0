"""Records of CoordConv's coordinates and of fixed sinusoids."""

from typing import Any

import torch
from record import Kind, Record, Sample

from visionpe import (
    AddCoords,
    AppendSinusoidal2d,
    CoordConv1d,
    CoordConv2d,
    Frame,
    MaskedSinusoidal2d,
    Sinusoidal1d,
    Sinusoidal2d,
)


def rows(sample: Sample, size: tuple[int, int], batch: int, dtype: torch.dtype) -> tuple[Any, ...]:
    """A row of pixels and its frame, for encodings along one axis."""
    n = size[0] * size[1]
    x = torch.randn(batch, sample.channels, n, dtype=dtype)
    return x, Frame.identity(1, 2 * n).crop(0, 1, h=1, w=n)


RECORDS = [
    Record(
        encoding=AddCoords,
        kind=Kind.POINT,
        source="1807.03247",
        samples=(
            Sample(AddCoords),
            Sample(
                lambda: AddCoords(radius=True, align_corners=True), channels=3, scale_free=False
            ),
        ),
        laws=(
            "test_coord.py::test_the_radius_is_zero_at_the_centre_and_nowhere_else",
            "test_coord.py::test_each_sample_has_its_own_frame",
            "test_coord.py::test_tokens_have_the_coordinates_of_the_maps_cells",
        ),
        not_laws=(
            "test_coord.py::test_coordinates_of_a_crop_are_not_those_of_an_image_of_its_size",
        ),
        oracles=("test_coord.py::test_channels_are_the_papers_formula",),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=CoordConv2d,
        kind=Kind.MAP,
        source="1807.03247",
        samples=(
            Sample(lambda: CoordConv2d(8, 5, 3, padding=1, zero_init=False)),
            Sample(
                lambda: CoordConv2d(
                    6,
                    4,
                    (3, 5),
                    2,
                    (1, 2),
                    groups=2,
                    bias=False,
                    padding_mode="replicate",
                    radius=True,
                    align_corners=True,
                    zero_init=False,
                ),
                channels=6,
            ),
        ),
        laws=(
            "test_coordconv.py::"
            "test_with_zero_coordinate_weights_it_is_the_plain_convolution_bit_for_bit",
            "test_coordconv.py::test_a_pixel_sees_the_same_coordinate_in_the_image_and_in_a_crop",
            "test_coordconv.py::test_the_papers_initialisation_is_over_the_joint_fan_in",
        ),
        not_laws=(
            "test_coordconv.py::"
            "test_a_plain_circular_convolution_commutes_with_shifts_and_coordinates_break_that",
        ),
        oracles=(
            "test_coordconv.py::test_output_and_gradients_are_the_concatenating_forms",
            "test_coordconv.py::test_any_size_from_one_cell_up_is_right",
        ),
    ),
    Record(
        encoding=CoordConv1d,
        kind=Kind.OTHER,
        source="1807.03247",
        samples=(
            Sample(lambda: CoordConv1d(8, 5, 3, padding=1, zero_init=False)),
            Sample(
                lambda: CoordConv1d(
                    6,
                    4,
                    5,
                    2,
                    2,
                    groups=2,
                    padding_mode="replicate",
                    radius=True,
                    align_corners=True,
                    zero_init=False,
                ),
                channels=6,
            ),
        ),
        laws=(
            "test_coordconv.py::test_along_one_axis_it_is_the_concatenating_form_too",
            "test_coordconv.py::test_function_and_module_agree",
            "test_coordconv1d.py::"
            "test_a_pixel_sees_the_same_coordinate_in_the_row_a_crop_and_a_flip",
        ),
        not_laws=(
            "test_coordconv1d.py::"
            "test_shifts_do_not_commute_with_it_and_do_with_the_plain_convolution",
        ),
        oracles=("test_coordconv.py::test_along_one_axis_it_is_the_concatenating_form_too",),
        inputs=rows,
    ),
    Record(
        encoding=Sinusoidal2d,
        kind=Kind.POINT,
        source="1706.03762",
        samples=(
            Sample(Sinusoidal2d, scale_free=False),
            Sample(lambda: Sinusoidal2d(temperature=20.0, cells=(9, 7)), channels=12),
            Sample(Sinusoidal2d, channels=5, scale_free=False),
        ),
        laws=(
            "test_sinusoidal.py::test_products_of_codes_depend_on_differences_only",
            "test_sinusoidal.py::test_a_shift_is_a_rotation_of_each_pair",
            "test_sinusoidal.py::test_a_pixel_has_one_code_in_the_image_a_crop_and_a_flip",
        ),
        not_laws=(
            "test_sinusoidal.py::test_conventions_differ_as_much_as_codes_can",
            "test_sinusoidal.py::test_swapping_the_axes_swaps_the_halves_and_changes_the_code",
        ),
        oracles=(
            "test_sinusoidal.py::test_timm_builds_the_same",
            "test_sinusoidal.py::test_positional_encodings_builds_the_same_in_another_order",
            "test_sinusoidal.py::test_each_convention_is_its_formula",
        ),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=AppendSinusoidal2d,
        kind=Kind.POINT,
        source="1706.03762",
        samples=(
            Sample(lambda: AppendSinusoidal2d(8), channels=3, scale_free=False),
            Sample(lambda: AppendSinusoidal2d(4, cells=(16, 12)), channels=1),
            Sample(lambda: AppendSinusoidal2d(7, temperature=50.0), channels=2, scale_free=False),
        ),
        laws=(
            "test_sinusoidal.py::test_modules_add_and_append_the_same_code",
            "test_sinusoidal.py::test_tokens_are_encoded_as_the_maps_cells_are",
            "test_sinusoidal.py::test_tokens_follow_their_frame_and_their_order",
        ),
        not_laws=(
            "test_sinusoidal.py::"
            "test_appended_codes_of_two_places_have_the_products_of_their_difference",
        ),
        oracles=("test_sinusoidal.py::test_timm_builds_the_same",),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=Sinusoidal1d,
        kind=Kind.OTHER,
        source="1706.03762",
        samples=(
            Sample(Sinusoidal1d),
            Sample(lambda: Sinusoidal1d(temperature=20.0, cells=9), channels=5),
        ),
        laws=(
            "test_sinusoidal_line.py::"
            "test_a_shift_is_a_rotation_that_does_not_depend_on_the_position",
            "test_sinusoidal_line.py::"
            "test_a_pixel_of_a_row_has_one_code_in_the_row_a_crop_and_a_flip",
            "test_sinusoidal_line.py::test_a_row_is_the_x_half_of_a_map",
        ),
        not_laws=(
            "test_sinusoidal_line.py::"
            "test_products_of_codes_depend_on_differences_only_if_every_sine_has_its_cosine",
        ),
        oracles=(
            "test_sinusoidal_line.py::test_positional_encodings_builds_the_same_in_another_order",
        ),
        inputs=rows,
    ),
    Record(
        encoding=MaskedSinusoidal2d,
        kind=Kind.MAP,
        source="2005.12872",
        samples=(
            Sample(MaskedSinusoidal2d),
            Sample(lambda: MaskedSinusoidal2d(temperature=20.0, offset=-0.5), channels=12),
        ),
        laws=(
            "test_sinusoidal_masked.py::test_padding_does_not_move_the_code_of_the_image",
            "test_sinusoidal_masked.py::test_a_transposed_mask_swaps_the_halves",
            "test_sinusoidal_masked.py::"
            "test_without_padding_it_is_a_sinusoid_of_positions_from_one_to_two_pi",
        ),
        not_laws=(
            "test_sinusoidal_masked.py::test_a_crop_counts_from_its_own_first_cell",
            "test_sinusoidal_masked.py::"
            "test_an_offset_of_minus_a_half_makes_a_flip_change_the_sines_sign_and_zero_does_not",
        ),
        oracles=("test_sinusoidal_masked.py::test_it_is_the_papers_formula",),
    ),
]
