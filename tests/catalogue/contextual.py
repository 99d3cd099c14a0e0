"""Records of encodings whose logits depend on the content of queries and keys, and iRPE's bias."""

from record import Kind, Record, Sample

from visionpe import (
    AxialClippedBuckets,
    CrossBuckets,
    EuclideanBuckets,
    IRPEBias,
    IRPEContextual,
    QuantisedBuckets,
    Shaw,
    TransformerXL,
)

RECORDS = [
    Record(
        encoding=Shaw,
        kind=Kind.ATTENTION,
        source="1803.02155",
        samples=(
            Sample(lambda: Shaw(16)),
            Sample(lambda: Shaw(16, heads=2, buckets=AxialClippedBuckets(clip=2), std=0.02)),
            Sample(lambda: Shaw(8, on_values=False), heads=3, head_dim=8),
        ),
        laws=(
            "test_shaw.py::test_pairs_of_one_offset_get_one_bias_from_one_query",
            "test_shaw.py::test_a_shift_of_all_places_changes_nothing_and_of_the_keys_alone_does",
            "test_shaw.py::test_a_tile_of_an_image_has_the_biases_it_has_in_the_image",
            "test_shaw.py::test_the_bias_scales_with_the_query_and_ignores_the_keys",
        ),
        not_laws=(
            "test_shaw.py::test_swapping_rows_and_columns_is_not_the_same",
            "test_shaw.py::test_the_vector_of_the_last_offset_serves_all_beyond_and_no_nearer_one",
        ),
        oracles=(
            "test_shaw.py::test_attention_is_the_papers_sum",
            "test_shaw.py::test_on_a_line_the_vectors_are_the_papers_in_their_order",
        ),
        relative=True,
    ),
    Record(
        encoding=TransformerXL,
        kind=Kind.ATTENTION,
        source="1901.02860",
        samples=(
            Sample(lambda: TransformerXL(2, 16)),
            Sample(
                lambda: TransformerXL(3, 6, width=8, temperature=50.0, std=0.02),
                heads=3,
                head_dim=6,
            ),
        ),
        laws=(
            "test_transformer_xl.py::"
            "test_a_shift_of_all_places_changes_nothing_and_of_the_keys_alone_does",
            "test_transformer_xl.py::test_a_flip_of_the_image_turns_the_sines_of_that_axis_over",
            "test_transformer_xl.py::test_it_is_the_sum_of_a_row_term_and_a_column_term",
        ),
        not_laws=(
            "test_transformer_xl.py::test_without_sines_it_is_symmetric_and_with_them_it_is_not",
        ),
        oracles=(
            "test_transformer_xl.py::test_the_bias_is_the_papers_sum",
            "test_transformer_xl.py::test_on_a_line_it_is_the_papers_relative_shift",
        ),
        relative=True,
        no_grad={"position_bias": "it acts through `weight`: zero until that has learned"},
    ),
    Record(
        encoding=IRPEBias,
        kind=Kind.ATTENTION,
        source="2107.14222",
        samples=(
            Sample(lambda: IRPEBias(2)),
            Sample(lambda: IRPEBias(None, buckets=QuantisedBuckets()), heads=3, head_dim=8),
            Sample(lambda: IRPEBias(2, buckets=CrossBuckets(alpha=1.9, beta=3.8, gamma=15.2))),
        ),
        laws=(
            "test_irpe.py::test_pairs_of_one_offset_have_one_bias_to_the_last_bit",
            "test_irpe.py::test_a_crop_and_a_flip_of_a_map_have_the_biases_of_the_map",
            "test_irpe_buckets.py::test_near_offsets_have_an_index_each_and_far_ones_share_it",
        ),
        not_laws=(
            "test_irpe.py::test_undirected_biases_are_symmetric_and_directed_ones_are_not",
            "test_irpe.py::test_cross_has_no_product_of_the_axes",
        ),
        oracles=(
            "test_irpe.py::test_the_bias_is_the_papers_table",
            "test_irpe_buckets.py::test_the_index_is_equation_18",
            "test_irpe_buckets.py::test_the_four_methods_are_the_papers_formulas_on_whole_offsets",
        ),
        relative=True,
    ),
    Record(
        encoding=IRPEContextual,
        kind=Kind.ATTENTION,
        source="2107.14222",
        samples=(
            Sample(lambda: IRPEContextual(16)),
            Sample(
                lambda: IRPEContextual(
                    8, heads=3, buckets=EuclideanBuckets(), on_queries=True, on_values=True
                ),
                heads=3,
                head_dim=8,
            ),
            Sample(
                lambda: IRPEContextual(16, buckets=CrossBuckets(), on_keys=False, on_values=True)
            ),
        ),
        laws=(
            "test_irpe.py::test_lattices_points_and_samples_apart_agree_at_every_size",
            "test_irpe.py::test_clipped_buckets_make_shaws_encoding",
            "test_irpe.py::test_tokens_without_a_place_are_left_alone",
        ),
        not_laws=(
            "test_irpe.py::test_a_contextual_bias_depends_on_the_query_and_a_plain_one_does_not",
        ),
        oracles=("test_irpe.py::test_attention_is_the_papers_sum",),
        relative=True,
    ),
]
