"""No encoding adds its code to a map or to tokens of whole numbers, where it would be rounded."""

import pytest
import torch
from record import Record, Sample
from records import oblong, samples

from visionpe import MapEncoding, Places, PointEncoding

MAPS = samples(lambda record, sample: issubclass(record.encoding, MapEncoding))
SAYS = r"^`x` must hold floating point numbers, but holds torch\.uint8\. "


@MAPS
@pytest.mark.usefixtures("unchecked")
def test_a_map_or_tokens_of_whole_numbers_are_refused(record: Record, sample: Sample) -> None:
    module = sample.make().eval()
    h, w = oblong(sample)
    x = torch.zeros(2, sample.channels, h, w, dtype=torch.uint8)
    with pytest.raises(TypeError, match=SAYS):
        module(x)
    if isinstance(module, PointEncoding):
        with pytest.raises(TypeError, match=SAYS):
            module.tokens(x.flatten(2).mT, Places.of(h, w))
