import pytest
import torch

from dqcodec.errors import DataError
from dqcodec.training.perceptual import LpipsVgg
from tests.conftest import synthetic


def test_agrees_with_the_lpips_package(shared):
    from dqcodec.torchvision_fix import import_torchvision

    import_torchvision()
    lpips = pytest.importorskip("lpips")
    ours = LpipsVgg(shared / "data" / "metrics")
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    flat = [m for m in theirs.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for conv, own in zip(flat, [c for block in ours.blocks for c in block], strict=True):
        conv.weight.data, conv.bias.data = own.weight.data, own.bias.data
    a = torch.from_numpy(synthetic(64, 96)).permute(2, 0, 1)[None].float() / 127.5 - 1
    b = a + 0.2 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    distance = ours(b, a)
    assert distance.shape == (1, 4, 6)
    assert abs(distance.mean().item() - theirs(b, a).item()) < 1e-5


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(DataError, match="--metric-weights"):
        LpipsVgg(tmp_path)
