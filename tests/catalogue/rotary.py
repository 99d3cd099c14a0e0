"""Records of rotary encodings."""

from record import Kind, Record, Sample

from visionpe import (
    LieRE,
    Rotary,
    RotaryDINOv3,
    RotaryMixed,
    RotarySimplex,
    RotarySpiral,
)

_FAMILY = (
    "test_rotary_waves.py::test_products_depend_on_differences_only",
    "test_rotary_waves.py::test_norms_are_kept",
    "test_rotary_waves.py::test_tokens_without_a_place_are_left_alone",
    "test_rotary_waves.py::test_a_crop_is_turned_as_in_its_image",
)
_FROM_ZERO = (
    *_FAMILY,
    "test_rotary_waves.py::test_position_zero_is_not_turned_and_turns_add_up",
    "test_rotary_waves.py::test_attention_in_a_crop_is_as_if_it_were_the_image",
)
_AXES = "test_rotary_waves.py::test_rows_and_columns_are_not_interchangeable"

RECORDS = [
    Record(
        encoding=Rotary,
        kind=Kind.ATTENTION,
        source="2403.13298",
        samples=(
            Sample(Rotary),
            Sample(lambda: Rotary(theta=50.0, cells=(9, 7), order="yx", layout="half"), head_dim=8),
        ),
        laws=(*_FROM_ZERO, "test_rotary.py::test_swapping_the_axes_swaps_the_halves"),
        not_laws=(
            _AXES,
            "test_rotary.py::test_axial_logits_are_a_sum_over_rows_and_columns_and_mixed_ones_are_not",
        ),
        oracles=(
            "test_rotary.py::test_timm_turns_the_same",
            "test_rotary.py::test_rotary_embedding_torch_turns_the_same",
            "test_rotary.py::test_it_is_the_papers_formula",
        ),
        relative=True,
    ),
    Record(
        encoding=RotaryMixed,
        kind=Kind.ATTENTION,
        source="2403.13298",
        samples=(
            Sample(lambda: RotaryMixed(2, 16)),
            Sample(
                lambda: RotaryMixed(3, 8, theta=100.0, cells=(9, 7), layout="half"),
                heads=3,
                head_dim=8,
            ),
        ),
        laws=_FROM_ZERO,
        not_laws=(
            _AXES,
            "test_rotary_mixed.py::test_it_is_not_the_identity_at_the_start",
            "test_rotary_mixed.py::test_with_axial_waves_it_is_the_axial_encoding_and_as_drawn_it_is_not",
        ),
        oracles=("test_rotary_mixed.py::test_timm_turns_the_same_with_the_same_frequencies",),
        relative=True,
    ),
    Record(
        encoding=RotaryDINOv3,
        kind=Kind.ATTENTION,
        source="2508.10104",
        samples=(
            Sample(RotaryDINOv3),
            Sample(
                lambda: RotaryDINOv3(
                    base=20.0,
                    normalize="max",
                    shift=0.2,
                    jitter=1.2,
                    rescale=2.0,
                    layout="interleaved",
                ),
                head_dim=8,
            ),
        ),
        laws=(
            *_FAMILY,
            "test_rotary_dinov3.py::test_the_centre_is_not_turned_and_a_flip_turns_back",
        ),
        not_laws=(
            _AXES,
            "test_rotary_dinov3.py::test_it_is_random_in_training_only",
        ),
        oracles=(
            "test_rotary_dinov3.py::test_timm_turns_the_same",
            "test_rotary_dinov3.py::test_timms_interleaved_layout_and_other_base_turn_the_same",
        ),
        relative=True,
        random=True,
    ),
    Record(
        encoding=RotarySimplex,
        kind=Kind.ATTENTION,
        source="2606.12146",
        samples=(
            Sample(RotarySimplex),
            Sample(lambda: RotarySimplex(theta=20.0, cells=(9, 7), layout="half"), head_dim=6),
        ),
        laws=(
            *_FROM_ZERO,
            "test_rotary_simplex.py::test_the_vectors_of_a_scale_are_a_regular_simplex",
        ),
        not_laws=(
            _AXES,
            "test_rotary_simplex.py::test_no_direction_is_favoured_as_the_axes_are_by_axial_rotation",
            "test_rotary_simplex.py::test_it_sees_diagonals_which_axial_rotation_does_not",
        ),
        oracles=(
            "test_rotary_simplex.py::test_it_is_the_formula_one_pair_at_a_time",
            "test_rotary_simplex.py::test_queries_are_turned_by_the_formula",
        ),
        relative=True,
    ),
    Record(
        encoding=RotarySpiral,
        kind=Kind.ATTENTION,
        source="2602.03227",
        samples=(
            Sample(RotarySpiral, head_dim=32),
            Sample(lambda: RotarySpiral(directions=4, theta=20.0, cells=(9, 7), layout="half")),
        ),
        laws=(
            *_FROM_ZERO,
            "test_rotary_spiral.py::test_directions_are_equally_spaced_and_share_the_pairs_evenly",
        ),
        not_laws=(
            _AXES,
            "test_rotary_spiral.py::test_two_directions_are_the_axial_encoding_and_more_are_not",
            "test_rotary_spiral.py::test_it_sees_diagonals_which_axial_rotation_does_not",
        ),
        oracles=(
            "test_rotary_spiral.py::test_it_is_the_formula_one_pair_at_a_time",
            "test_rotary_spiral.py::test_queries_are_turned_by_the_formula",
        ),
        relative=True,
    ),
    Record(
        encoding=LieRE,
        kind=Kind.ATTENTION,
        source="2406.10322",
        samples=(
            Sample(lambda: LieRE(2, 16)),
            Sample(lambda: LieRE(3, 6, block=3, init="uniform"), heads=3, head_dim=6),
            Sample(lambda: LieRE(2, 16, block=4, unit=(5, 7))),
        ),
        laws=(
            "test_liere.py::test_rotations_are_rotations",
            "test_liere.py::test_norms_are_kept_and_the_first_corner_is_not_turned",
            "test_liere.py::test_blocks_of_two_are_turned_by_plane_waves",
            "test_liere.py::test_tokens_without_a_place_are_left_alone",
        ),
        not_laws=(
            "test_liere.py::test_products_depend_on_differences_only_where_generators_commute",
            "test_liere.py::test_turns_do_not_add_up_in_general",
        ),
        oracles=("test_liere.py::test_it_is_the_papers_formula_one_token_at_a_time",),
    ),
]
