"""Records of learned tables and of Fourier features."""

from record import Kind, Record, Sample

from visionpe import (
    AddFourierFeatures,
    Factorised2d,
    FourierFeatures,
    Learned2d,
    LogAxisFeatures,
    NerfFeatures,
)

FOURIER_LAWS = (
    "test_fourier.py::test_products_of_features_depend_on_differences_only",
    "test_fourier.py::test_a_pixel_has_one_code_in_the_image_a_crop_a_tile_a_flip_and_a_resize",
    "test_fourier.py::test_tokens_get_the_maps_codes_and_those_without_a_place_none",
)
AXIS_LAW = (
    "test_fourier.py::"
    "test_axis_frequencies_vary_along_their_own_axis_only_and_random_ones_along_both"
)

RECORDS = [
    Record(
        encoding=Learned2d,
        kind=Kind.POINT,
        source="2010.11929",
        samples=(
            Sample(lambda: Learned2d(8, (4, 7))),
            Sample(lambda: Learned2d(3, (8, 5), bicubic=False, init_std=0.02), channels=3),
        ),
        laws=(
            "test_learned.py::test_at_its_own_size_it_is_the_table_to_the_last_bit",
            "test_learned.py::"
            "test_a_pixel_has_one_code_in_the_image_a_crop_a_tile_a_flip_and_a_resize",
            "test_learned.py::test_outside_the_image_it_is_the_tables_border",
            "test_learned.py::test_it_starts_as_the_identity_and_learns_every_entry",
        ),
        not_laws=(
            "test_learned.py::test_a_crop_that_forgets_its_frame_gets_other_codes",
            "test_learned.py::test_at_another_size_it_is_dinov2s_resampling_and_not_timms",
        ),
        oracles=(
            "test_learned.py::test_torch_interpolates_to_the_same_at_every_size",
            "test_learned.py::test_torchs_grid_sampling_gives_the_same_at_any_place",
            "test_learned.py::test_a_sample_is_the_weighted_sum_over_the_table",
        ),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=Factorised2d,
        kind=Kind.POINT,
        source="2307.06304",
        samples=(
            Sample(lambda: Factorised2d(8, (8, 8))),
            Sample(
                lambda: Factorised2d(3, (32, 48), fractional=False, init_std=0.02),
                channels=3,
                scale_free=False,
            ),
        ),
        laws=(
            "test_factorised.py::test_at_its_own_size_it_is_the_tables_to_the_last_bit",
            "test_factorised.py::test_steps_along_every_row_are_the_same",
            "test_factorised.py::test_a_pixel_has_one_code_in_the_image_a_crop_a_tile_and_a_flip",
        ),
        not_laws=("test_factorised.py::test_fractions_agree_at_every_scale_and_indices_do_not",),
        oracles=(
            "test_factorised.py::test_timms_factorised_embedding_is_the_same",
            "test_factorised.py::test_it_is_the_sum_of_a_rows_and_a_columns_entry",
        ),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=FourierFeatures,
        kind=Kind.POINT,
        source="2006.10739",
        samples=(
            Sample(lambda: FourierFeatures(5, seed=0)),
            Sample(lambda: FourierFeatures(4, sigma=2.0, trainable=True), channels=3),
        ),
        laws=FOURIER_LAWS,
        not_laws=(AXIS_LAW,),
        oracles=(
            "test_fourier.py::test_features_are_the_papers_on_the_unit_square_but_for_a_phase",
            "test_fourier.py::test_their_kernel_is_the_papers_whose_origin_is_a_corner",
        ),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=AddFourierFeatures,
        kind=Kind.POINT,
        source="2006.10739",
        samples=(
            Sample(lambda: AddFourierFeatures(8, 5, seed=0)),
            Sample(
                lambda: AddFourierFeatures(3, 4, sigma=2.0, trainable=True, init_std=0.1),
                channels=3,
            ),
        ),
        laws=(
            *FOURIER_LAWS,
            "test_fourier.py::test_modules_append_and_add_what_the_functions_give",
        ),
        not_laws=(
            "test_fourier.py::"
            "test_adding_starts_as_the_identity_and_learns_waves_from_the_second_step",
        ),
        oracles=(
            "test_fourier.py::test_features_are_the_papers_on_the_unit_square_but_for_a_phase",
        ),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=NerfFeatures,
        kind=Kind.POINT,
        source="2003.08934",
        samples=(Sample(lambda: NerfFeatures(4)), Sample(lambda: NerfFeatures(1), channels=3)),
        laws=FOURIER_LAWS,
        not_laws=(AXIS_LAW,),
        oracles=("test_fourier.py::test_nerfs_octaves_are_its_formula",),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=LogAxisFeatures,
        kind=Kind.POINT,
        source="2006.10739",
        samples=(
            Sample(lambda: LogAxisFeatures(6)),
            Sample(lambda: LogAxisFeatures(4, octaves=3.5), channels=3),
        ),
        laws=FOURIER_LAWS,
        not_laws=(AXIS_LAW,),
        oracles=("test_fourier.py::test_log_axis_frequencies_are_powers_of_two_less_one",),
        absolute=True,
        scale_free=True,
    ),
]
