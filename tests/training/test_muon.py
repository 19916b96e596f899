import torch
from torch import nn

from dqcodec.training.muon import Muon, orthogonal


def test_an_update_moves_every_direction_alike():
    torch.manual_seed(0)
    for shape in ((24, 60), (60, 24)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
        assert values.min() > 0.5 and values.max() < 1.4, shape
    lopsided = torch.randn(24, 1) @ torch.randn(1, 40) + 0.1 * torch.randn(24, 40)
    before, after = (torch.linalg.svdvals(m.float()) for m in (lopsided, orthogonal(lopsided)))
    assert before[0] / before[1] > 20 and after[0] / after[1] < 2


def test_matrices_together_become_what_each_becomes_alone():
    for shape in ((3, 24, 60), (3, 60, 24)):
        matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        together = orthogonal(matrices).float()
        for matrix, found in zip(matrices, together, strict=True):
            assert torch.allclose(found, orthogonal(matrix).float(), atol=0.02)
    first, second, third = (nn.Parameter(torch.randn(8, 4, 3, 3)) for _ in range(3))
    first.grad, second.grad = torch.randn_like(first), torch.randn_like(second)
    before = [p.detach().clone() for p in (first, second, third)]
    Muon([first, second, third], lr=0.1).step()
    moved = [(p.detach() - b) for p, b in zip((first, second, third), before, strict=True)]
    assert not moved[2].any()  # it has no gradient
    for p, step in zip((first, second), moved, strict=False):
        assert torch.nn.functional.cosine_similarity(step.flatten(), -p.grad.flatten(), dim=0) > 0.5


def test_it_solves_an_ill_conditioned_problem():
    torch.manual_seed(0)
    x = torch.randn(256, 16) * torch.logspace(0, -2, 16)
    target = torch.randn(16, 8)
    weight = nn.Parameter(torch.zeros(16, 8))
    optimiser = Muon([weight], lr=0.1)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimiser.zero_grad()
        (x @ (weight - target)).square().mean().backward()
        optimiser.step()
    assert (weight - target).square().mean() < 0.1 * target.square().mean()
