"""Records of CoordConv's coordinates and of fixed sinusoids."""

from record import Kind, Record, Sample

from visionpe import AddCoords, AppendSinusoidal2d, Sinusoidal2d

RECORDS = [
    Record(
        encoding=AddCoords,
        kind=Kind.MAP,
        source="1807.03247",
        samples=(
            Sample(AddCoords),
            Sample(lambda: AddCoords(radius=True, align_corners=True), channels=3),
        ),
        laws=(),
        not_laws=(),
        oracles=(),
        absolute=True,
        scale_free=True,
    ),
    Record(
        encoding=Sinusoidal2d,
        kind=Kind.POINT,
        source="1706.03762",
        samples=(
            Sample(Sinusoidal2d),
            Sample(lambda: Sinusoidal2d(temperature=20.0, cells=(9, 7)), channels=12),
        ),
        laws=(
            "test_sinusoidal.py::test_products_of_codes_depend_on_differences_only",
            "test_sinusoidal.py::test_a_shift_is_a_rotation_of_each_pair",
        ),
        not_laws=("test_sinusoidal.py::test_conventions_differ_as_much_as_codes_can",),
        oracles=("test_sinusoidal.py::test_timm_builds_the_same",),
        absolute=True,
    ),
    Record(
        encoding=AppendSinusoidal2d,
        kind=Kind.POINT,
        source="1706.03762",
        samples=(
            Sample(lambda: AppendSinusoidal2d(8), channels=3),
            Sample(lambda: AppendSinusoidal2d(4, cells=(16, 12)), channels=1),
        ),
        laws=(),
        not_laws=(),
        oracles=(),
        absolute=True,
    ),
]
