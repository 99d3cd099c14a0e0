import torch
from timm import create_model

import visionpe


def test_a_trace_is_the_same_under_other_pads() -> None:
    model = create_model("resnet10t").eval()
    before = visionpe.trace(model, 64, 96)
    visionpe.set_padding(model, "circular")
    after = visionpe.trace(model, 64, 96)
    assert [site.lattice for site in after.sites] == [site.lattice for site in before.sites]
    assert [site.module for site in after.sites] == [site.module for site in before.sites]
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        circular = model(x)
        visionpe.set_padding(model, "original")
        assert not torch.equal(model(x), circular)
