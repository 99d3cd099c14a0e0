"""Records of the encodings that add a bias to the logits."""

from record import Kind, Record, Sample

from visionpe import Alibi2d, AxisBias, BucketBias, DecomposedBias, LogCPB, RelativeBias

WINDOW = (32, 32)  # holds every size that the samples are called with

RECORDS = [
    Record(
        encoding=RelativeBias,
        kind=Kind.ATTENTION,
        source="2103.14030",
        samples=(
            Sample(lambda: RelativeBias(2, WINDOW)),
            Sample(
                lambda: RelativeBias(3, WINDOW, prefix_bias=True, std=0.02),
                heads=3,
                leaves_unplaced=False,
            ),
        ),
        laws=(
            "test_relative.py::test_pairs_of_one_offset_have_one_bias_and_others_another",
            "test_relative.py::test_it_is_the_formula_for_any_sizes",
            "test_relative.py::test_it_starts_as_plain_attention",
            "test_relative.py::test_any_permutation_of_tokens_and_places_permutes_the_output",
            "test_relative.py::test_crops_have_the_bias_of_the_image_and_flips_its_flipped_bias",
            "test_relative_resize.py::"
            "test_they_are_linear_keep_constants_the_centre_and_the_order_of_axes",
        ),
        not_laws=(
            "test_relative.py::test_it_is_not_symmetric_nor_the_same_after_swapping_the_axes",
            "test_relative_resize.py::test_the_recipes_differ",
        ),
        oracles=(
            "test_relative.py::test_its_index_is_timms_and_torchvisions",
            "test_relative.py::test_its_bias_is_timms_and_beits",
            "test_relative.py::test_its_bias_is_torchvisions",
            "test_relative_resize.py::test_bicubic_is_timms_simple_recipe",
            "test_relative_resize.py::test_geometric_is_timms_recipe",
        ),
        relative=True,
    ),
    Record(
        encoding=LogCPB,
        kind=Kind.ATTENTION,
        source="2111.09883",
        samples=(
            Sample(lambda: LogCPB(2, WINDOW, hidden=24)),
            Sample(lambda: LogCPB(3, (4, 3), hidden=20, baseline=0.0, std=0.5), heads=3),
        ),
        laws=(
            "test_cpb.py::test_offsets_once_or_pair_by_pair_give_one_bias",
            "test_cpb.py::test_it_starts_as_plain_attention_with_tokens_without_a_place_too",
            "test_cpb.py::test_it_depends_on_offsets_only_and_stays_within_8",
            "test_cpb.py::test_a_crop_between_cells_has_the_bias_of_the_image",
        ),
        not_laws=(
            "test_cpb.py::"
            "test_without_such_tokens_the_baseline_changes_nothing_and_with_them_it_does",
        ),
        oracles=(
            "test_cpb.py::test_the_papers_form_is_timms_mlp",
            "test_cpb.py::test_a_pretrained_window_is_timms",
            "test_cpb.py::test_the_papers_form_is_torchvisions_and_swin_v2s",
            "test_cpb.py::test_the_scale_of_offsets_is_the_formula",
        ),
        relative=True,
    ),
    Record(
        encoding=AxisBias,
        kind=Kind.ATTENTION,
        source="2112.01526",
        samples=(
            Sample(lambda: AxisBias(2, WINDOW)),
            Sample(lambda: AxisBias(3, WINDOW, std=0.02), heads=3),
        ),
        laws=(
            "test_separable.py::test_rows_and_columns_do_not_interact_and_the_bias_is_no_constant",
            "test_separable.py::test_a_constant_can_move_from_one_table_to_the_other",
            "test_separable.py::test_crops_have_the_bias_of_the_image_and_flips_its_flipped_bias",
        ),
        not_laws=(
            "test_separable.py::test_rows_and_columns_do_not_interact_and_the_bias_is_no_constant",
        ),
        oracles=(
            "test_separable.py::test_it_is_timms_table_of_the_sums",
            "test_separable.py::test_it_is_the_formula_for_any_sizes_of_lattices_and_for_points",
        ),
        relative=True,
    ),
    Record(
        encoding=BucketBias,
        kind=Kind.ATTENTION,
        source="1910.10683",
        samples=(
            Sample(lambda: BucketBias(2)),
            Sample(lambda: BucketBias(3, buckets=8, max_distance=20, std=0.02), heads=3),
        ),
        laws=(
            "test_t5.py::test_near_offsets_have_their_own_bucket_and_far_ones_share",
            "test_t5.py::test_a_flip_turns_the_buckets_over",
            "test_t5.py::test_layers_that_share_it_have_one_table_with_the_gradients_of_all",
        ),
        not_laws=("test_t5.py::test_a_shift_changes_nothing_but_a_stretch_does",),
        oracles=(
            "test_t5.py::test_buckets_are_the_papers_formula",
            "test_t5.py::test_lattices_and_points_have_the_sum_of_two_tables",
        ),
        relative=True,
    ),
    Record(
        encoding=Alibi2d,
        kind=Kind.ATTENTION,
        source="2108.12409",
        samples=(
            Sample(lambda: Alibi2d(2)),
            Sample(lambda: Alibi2d(3, learned=True), heads=3),
        ),
        laws=(
            "test_alibi.py::test_it_does_not_change_under_shifts_turns_and_flips_but_under_scale",
            "test_alibi.py::test_learned_slopes_start_as_the_fixed_ones_and_learn",
        ),
        not_laws=(
            "test_alibi.py::test_it_is_the_euclidean_distance_not_the_sum_of_the_axes",
            "test_alibi.py::test_it_is_not_the_identity_at_the_start_and_near_keys_weigh_more",
        ),
        oracles=(
            "test_alibi.py::test_slopes_are_the_papers_rule",
            "test_alibi.py::test_it_is_the_slope_times_the_distance",
        ),
        relative=True,
    ),
    Record(
        encoding=DecomposedBias,
        kind=Kind.ATTENTION,
        source="2112.01526",
        samples=(
            Sample(lambda: DecomposedBias(16, WINDOW)),
            Sample(lambda: DecomposedBias(8, WINDOW, std=0.02), heads=3, head_dim=8),
        ),
        laws=(
            "test_decomposed.py::test_it_starts_as_plain_attention_and_learns_from_there",
            "test_decomposed.py::"
            "test_for_one_query_everywhere_it_depends_on_offsets_and_not_on_places",
            "test_decomposed.py::test_no_tensor_holds_a_vector_for_every_pair",
        ),
        not_laws=(
            "test_decomposed.py::"
            "test_it_is_linear_in_the_query_and_so_not_one_bias_for_all_samples",
        ),
        oracles=(
            "test_decomposed.py::test_it_is_sams_with_the_query_unscaled",
            "test_decomposed.py::test_keys_pooled_by_two_have_mvits_offsets",
            "test_relative_resize.py::test_an_axis_is_resized_as_by_sam",
        ),
        relative=True,
    ),
]
