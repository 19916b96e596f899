import sys

import pytest
import torch

from dqcodec.errors import DataError
from dqcodec.models import perceptual
from dqcodec.models.perceptual import Lengths, LpipsVgg, UnitGap, lengths, unit_gap
from tests.conftest import synthetic


@pytest.fixture
def package():
    from dqcodec.torchvision_fix import import_torchvision

    import_torchvision()
    return pytest.importorskip("lpips")


def test_agrees_with_the_lpips_package(package, shared):
    ours = LpipsVgg(shared / "data" / "metrics")
    theirs = package.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    flat = [m for m in theirs.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for conv, own in zip(flat, [c for block in ours.blocks for c in block], strict=True):
        conv.weight.data, conv.bias.data = own.weight.data, own.bias.data
    _agree(ours, theirs)


def _agree(ours: LpipsVgg, theirs: torch.nn.Module) -> None:
    a = torch.from_numpy(synthetic(64, 96)).permute(2, 0, 1)[None].float() / 127.5 - 1
    b = a + 0.2 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        distance = ours(b, a)
        assert distance.shape == (1, 4, 6)
        assert abs(distance.mean().item() - theirs(b, a).item()) < 1e-5


def test_without_a_folder_the_weights_are_the_packages(package, monkeypatch):
    made, real = [], package.LPIPS

    def untrained(**options):  # what it would download; the heads come with it
        made.append(real(**options, pnet_rand=True).eval())
        return made[-1]

    monkeypatch.setattr(package, "LPIPS", untrained)
    _agree(LpipsVgg(None), made[0])


def test_a_download_that_fails_is_one_line(package, monkeypatch):
    def offline(**options):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(package, "LPIPS", offline)
    with pytest.raises(DataError, match=r"no route to host\); name a folder.*--metric-weights$"):
        LpipsVgg(None)


def test_without_folder_and_package_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(DataError, match=r"--metric-weights, or pip install 'dqcodec\[eval\]'"):
        LpipsVgg(None)


def test_broken_weights_are_named(metric_folder, tmp_path):
    for name in (perceptual.VGG_FILE, perceptual.LINEAR_FILE):
        (tmp_path / name).write_bytes((metric_folder / name).read_bytes()[:1000])
    with pytest.raises(DataError, match=f"{perceptual.VGG_FILE}: broken weight file"):
        LpipsVgg(tmp_path)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(DataError, match="--metric-weights"):
        LpipsVgg(tmp_path)


def _features(dtype: torch.dtype, seed: int, layout=torch.channels_last) -> torch.Tensor:
    f = torch.randn(2, 24, 6, 5, generator=torch.Generator().manual_seed(seed)).relu()
    f[0, :, 2, 3] = 0  # a place where nothing is seen
    return f.to(dtype).contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("cached", [1, 100, 1 << 16])
def test_gap_and_its_gradient_are_those_of_the_plain_formula(cached, layout, monkeypatch):
    monkeypatch.setattr(perceptual, "CACHED", cached)
    weight = torch.rand(24, generator=torch.Generator().manual_seed(2))
    pull = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(3))
    a, b = _features(torch.float64, 0), _features(torch.float32, 1, layout).detach()
    ua, ub = (f / (f.norm(dim=1, keepdim=True) + 1e-10) for f in (a, b.double()))
    expected = ((ua - ub).square() * weight.view(-1, 1, 1)).sum(1)
    (expected * pull).sum().backward()
    ours = a.detach().float().contiguous(memory_format=layout).requires_grad_()
    found = UnitGap.apply(ours, b, weight)
    (found * pull).sum().backward()
    assert torch.allclose(found.double(), expected, atol=1e-5)
    seen = a.detach().norm(dim=1, keepdim=True) > 0  # the plain formula has no gradient where nothing is seen
    assert torch.allclose(ours.grad.double() * seen, torch.where(seen, a.grad, 0), atol=1e-5)
    assert torch.isfinite(ours.grad).all()


@pytest.mark.parametrize("cached", [1, 100, 1 << 16])
def test_lengths_and_their_gradient(cached, monkeypatch):
    monkeypatch.setattr(perceptual, "CACHED", cached)
    ours, plain = _features(torch.float32, 0), _features(torch.float32, 0)
    found, expected = Lengths.apply(ours), plain.norm(dim=1, keepdim=True)
    pull = torch.rand(expected.shape, generator=torch.Generator().manual_seed(3))
    (found * pull).sum().backward()
    (expected * pull).sum().backward()
    assert torch.allclose(found, expected, atol=1e-6) and torch.allclose(ours.grad, plain.grad, atol=1e-6)
    assert torch.equal(ours, plain)  # what others of the step read too


def test_expressions_for_a_compiler_say_the_same():
    weight = torch.rand(24, generator=torch.Generator().manual_seed(2))
    pull = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(3))
    b = _features(torch.float32, 1).detach()
    for own, expression in ((lambda f: UnitGap.apply(f, b, weight), lambda f: unit_gap(f, b, weight)),
                            (Lengths.apply, lengths)):
        ours, plain = _features(torch.float32, 0), _features(torch.float32, 0)
        found, expected = own(ours), expression(plain)
        assert torch.allclose(found, expected, atol=1e-6)
        for value in (found, expected):
            (value.squeeze(1) * pull).sum().backward()
        seen = ours.detach().norm(dim=1, keepdim=True) > 0
        assert torch.allclose(ours.grad * seen, plain.grad * seen, atol=1e-5)
