"""DQ-Transformer in the paper's layout: the faults of the reference release are absent."""

import itertools
from dataclasses import replace

import pytest
import torch

from dqcodec.errors import ConfigError, GenerateError
from dqcodec.models.paper import PaperCodes, PaperConfig, PaperDQVAE
from dqcodec.prior.paper import PaperDQTransformer, PaperPriorConfig, sample
from dqcodec.prior.paper.sampling import Stepper, draw
from dqcodec.prior.paper.sequence import assemble, pack
from dqcodec.training import config

NARROW = {"dim": 16, "heads": 2, "position_layers": 1, "content_layers": 2}
DUAL = PaperPriorConfig((16, 8), 5, 3, 4, ("cat", "dog"), **NARROW)
TRIPLE = PaperPriorConfig((32, 16, 8), 5, 2, 3, ("cat", "dog"), **NARROW)
BOTH = pytest.mark.parametrize("shape", [DUAL, TRIPLE], ids=["dual", "triple"])


def network_of(shape, seed=0):
    """A network whose probabilities are far from even, in float64."""
    torch.manual_seed(seed)
    network = PaperDQTransformer(shape).double().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(1 if "norm" in name or parameter.ndim == 1 else 12)
    return network


def codes_at(shape, levels, seed=0):
    """Random codes for grain maps (B, rows, cols)."""
    layout, generator = shape.layout, torch.Generator().manual_seed(seed)
    cells = [torch.randint(shape.codebook_size, (len(levels), layout.cells(g)), generator=generator)
             for g in range(layout.grains)]
    return assemble(layout, levels.flatten(1), cells)


def random_codes(shape, batch, seed=0):
    """All coarse, all fine, then random mixtures."""
    grains, generator = len(shape.grains), torch.Generator().manual_seed(seed)
    levels = torch.randint(grains, (batch, shape.rows, shape.cols), generator=generator)
    levels[0], levels[1] = 0, grains - 1
    return codes_at(shape, levels, seed)


def picked(codes, i):
    return PaperCodes(codes.levels[i : i + 1], codes.indices[i : i + 1])


@torch.no_grad()
def nats(network, codes, labels):
    """Negative log-likelihood of each picture."""
    position, content = network(pack(network.config, codes, labels))
    return position.sum(1) + content.sum(1)


def all_maps(shape):
    grains = range(len(shape.grains))
    maps = torch.tensor(list(itertools.product(grains, repeat=shape.rows * shape.cols)))
    return maps.unflatten(1, (shape.rows, shape.cols))


def walks(layout, grain=0, last=-1, levels=None):
    """Every grain map that legal positions spell, one symbol after another."""
    levels = torch.full((layout.regions,), layout.grains) if levels is None else levels
    legal = layout.legal(grain, torch.tensor([last]), (levels >= grain)[None], (levels == grain)[None])[0]
    assert legal.any()
    for position in legal.nonzero()[:, 0].tolist():
        if position < layout.cells(grain):
            after = levels.clone()
            after[layout.region_of(grain)[position]] = grain
            yield from walks(layout, grain, position, after)
        elif grain + 1 < layout.grains:
            yield from walks(layout, grain + 1, -1, levels)
        else:
            yield tuple(levels.tolist())


# -- sequences and masks


@BOTH
def test_sequences_are_the_papers_layout(shape):
    codes = random_codes(shape, 4)
    batch = pack(shape, codes, torch.tensor([0, 1, 2, 0]))
    layout = shape.layout
    for i, label in enumerate([0, 1, 2, 0]):
        wanted = []
        for g, step in enumerate(layout.replications):
            wanted.append((g, layout.cells(g) + label, shape.codebook_size + label))
            grid = codes.indices[i, ::step, ::step].flatten().tolist()
            region = layout.region_of(g).tolist()
            levels = codes.levels[i].flatten().tolist()
            wanted += [(g, p, grid[p]) for p in range(layout.cells(g)) if levels[region[p]] == g]
        found = zip(*(part[i].tolist() for part in (batch.grain, batch.position, batch.content)), strict=True)
        assert list(found)[: batch.length[i]] == wanted
    assert batch.length.max() == batch.grain.shape[1] == layout.longest + 1  # one picture is all fine


@pytest.mark.parametrize("sides, rows, cols", [
    ((1, 2), 2, 3), ((1, 2, 4), 2, 2), ((1, 4, 8), 1, 2), ((1, 2, 4, 8), 1, 2)])
def test_legal_sequences_are_grain_maps_one_to_one(sides, rows, cols):
    shape = PaperPriorConfig(tuple(8 * sides[-1] // s for s in sides), 1, rows, cols, **NARROW)
    spelt = list(walks(shape.layout))
    assert len(spelt) == len(set(spelt)) == len(sides) ** (rows * cols)


@BOTH
def test_true_positions_are_legal_and_illegal_ones_have_probability_zero(shape):
    network, layout = network_of(shape), shape.layout
    codes = random_codes(shape, 6)
    batch = pack(shape, codes, torch.zeros(6, dtype=torch.int64))
    assert torch.isfinite(torch.stack(network(batch))).all()
    levels = codes.levels.flatten(1)
    last = torch.full((6,), layout.cells(0) // 2)
    begun = (levels == 0) & (layout.first_cell(0) <= last[:, None])
    legal = layout.legal(0, last, levels >= 0, begun)
    assert not legal[:, : layout.cells(0) // 2 + 1].any()  # never backwards, never the same again
    for wrong in (0, 1):  # the all-coarse picture goes back, or names a cell twice
        position = batch.position.clone()
        position[0, 3] = wrong
        cost = network(replace(batch, position=position))[0]
        assert cost[0].sum() == torch.inf and torch.isfinite(cost[1:]).all()
    logits = torch.randn(6, layout.cells(0) + 1, dtype=torch.float64).masked_fill(~legal, -torch.inf)
    assert (logits.softmax(1)[~legal] == 0).all()
    for noise in (0.0, 0.5, 1 - 2**-24):
        chosen = draw(logits, torch.full((6,), noise, dtype=torch.float64), 0, 1.0)
        assert legal.gather(1, chosen[:, None]).all()


@BOTH
def test_every_region_can_be_coarse_also_the_last(shape):
    layout = shape.layout
    none = torch.zeros(1, layout.regions, dtype=torch.bool)
    assert layout.legal(0, torch.tensor([-1]), ~none, none).all()
    network = network_of(shape)
    for level in range(len(shape.grains)):
        whole = torch.full((1, shape.rows, shape.cols), level)
        assert torch.isfinite(nats(network, codes_at(shape, whole), torch.tensor([0])))
    last = torch.full((1, shape.rows, shape.cols), len(shape.grains) - 1)
    last[0, -1, -1] = 0
    assert torch.isfinite(nats(network, codes_at(shape, last), torch.tensor([0])))


# -- likelihood


@BOTH
def test_likelihood_is_the_same_alone_and_in_any_batch(shape):
    network, codes, labels = network_of(shape), random_codes(shape, 6), torch.tensor([0, 1, 2, 0, 1, 2])
    together = nats(network, codes, labels)
    alone = torch.cat([nats(network, picked(codes, i), labels[i : i + 1]) for i in range(6)])
    turned = nats(network, PaperCodes(codes.levels.flip(0), codes.indices.flip(0)), labels.flip(0)).flip(0)
    assert torch.allclose(together, alone, rtol=1e-12, atol=1e-12)
    assert torch.allclose(together, turned, rtol=1e-12, atol=1e-12)


def test_what_lies_in_the_padding_does_not_matter():
    network, batch = network_of(DUAL), pack(DUAL, random_codes(DUAL, 4), torch.zeros(4, dtype=torch.int64))
    rubbish = {name: torch.where(batch.real, getattr(batch, name), 1) for name in ("grain", "position", "content")}
    first, second = (torch.stack(network(b)) for b in (batch, replace(batch, **rubbish)))
    assert torch.equal(first, second)


def test_probabilities_of_all_pictures_sum_to_one():
    shape = PaperPriorConfig((16, 8), 2, 1, 2, **NARROW)
    network, found = network_of(shape), {}
    cells = torch.tensor(list(itertools.product(range(2), repeat=2 + 8)))
    for levels in all_maps(shape):
        codes = assemble(shape.layout, levels.flatten().expand(len(cells), -1), [cells[:, :2], cells[:, 2:]])
        for i, cost in enumerate(nats(network, codes, torch.zeros(len(cells), dtype=torch.int64)).tolist()):
            # Unread cells repeat pictures: a picture is its map and what is decoded.
            found[tuple(codes.levels[i].flatten().tolist()), tuple(codes.indices[i].flatten().tolist())] = cost
    assert len(found) == 18**2
    assert torch.tensor(list(found.values())).double().neg().exp().sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("grains, rows, cols", [((32, 16, 8), 2, 2), ((32, 8, 4), 1, 3)])
def test_probabilities_of_all_grain_maps_sum_to_one(grains, rows, cols):
    shape = PaperPriorConfig(grains, 1, rows, cols, **NARROW)  # one code: what is left is the map
    maps = all_maps(shape)
    costs = nats(network_of(shape), codes_at(shape, maps), torch.zeros(len(maps), dtype=torch.int64))
    assert costs.std() > 0.1
    assert costs.neg().exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_positions_of_the_last_grain_cost_nothing():
    batch = pack(TRIPLE, random_codes(TRIPLE, 4), torch.zeros(4, dtype=torch.int64))
    position, content = network_of(TRIPLE)(batch)
    last = batch.real[:, 1:] & (batch.grain[:, :-1] == 2)
    assert (position[last] == 0).all() and (content[last] > 0).all()


def test_a_label_changes_the_likelihood():
    costs = nats(network_of(DUAL), PaperCodes(*(part.expand(3, -1, -1) for part in vars(
        picked(random_codes(DUAL, 2), 0)).values())), torch.arange(3))
    assert len(set(costs.tolist())) == 3


# -- sampling


@BOTH
def test_cached_steps_give_the_logits_of_the_whole_sequence(shape):
    network = network_of(shape)
    batch = pack(shape, random_codes(shape, 5), torch.tensor([0, 1, 2, 0, 1]))
    parts = (batch.grain, batch.position, batch.content)
    with torch.no_grad():
        hidden = network.position_stack(network.embed(*(part[:, :-1] for part in parts)))
        states = network.content_stack(hidden + network.place(batch.grain[:, 1:], batch.position[:, 1:]))
        stepper = Stepper(network)
        for t in range(batch.grain.shape[1] - 1):
            h = stepper.positions(*(part[:, t] for part in parts))
            c = stepper.contents(h, batch.grain[:, t + 1], batch.position[:, t + 1])
            assert torch.allclose(h, hidden[:, t], atol=1e-9)
            assert torch.allclose(network.content_logits(c), network.content_logits(states[:, t]), atol=1e-9)


@pytest.mark.parametrize("grains", [(16, 8), (32, 16, 8)], ids=["dual", "triple"])
def test_samples_cover_every_cell_once_and_decode(grains):
    tiny = config.load("paper_dual_tiny" if len(grains) == 2 else "paper_triple_tiny")
    torch.manual_seed(0)
    vae = PaperDQVAE(PaperConfig.from_dict(tiny.model)).eval()
    shape = PaperPriorConfig.for_vae(vae.config, 64, ("cat",), **NARROW)
    network = network_of(shape)
    codes = sample(network, 6, label=1, seed=3)
    assert codes.levels.min() >= 0 and codes.levels.max() < len(grains)
    assert codes.indices.min() >= 0 and codes.indices.max() < vae.config.codebook_size
    batch = pack(shape, codes, torch.ones(6, dtype=torch.int64))
    covered = torch.zeros(6, 64, dtype=torch.int64)
    for g, step in enumerate(shape.layout.replications):
        for i, t in (batch.real & (batch.grain == g) & (batch.content < 32)).nonzero().tolist():
            p, width = int(batch.position[i, t]), shape.cols * shape.layout.sides[g]
            covered[i].view(8, 8)[p // width * step :, p % width * step :][:step, :step] += 1
    assert (covered == 1).all()
    assert vae.decode(codes).shape == (6, 3, 64, 64)


@BOTH
def test_samples_follow_the_models_probabilities(shape):
    """Shares of the maps among many samples are their likelihoods; the cheapest map is the commonest."""
    small = replace(shape, rows=1, cols=2, codebook_size=1, classes=())
    network = network_of(small)
    maps = all_maps(small)
    wanted = nats(network, codes_at(small, maps), torch.zeros(len(maps), dtype=torch.int64)).neg().exp()
    drawn = sample(network, 3000, seed=1).levels
    shares = (drawn[:, None] == maps).flatten(2).all(2).double().mean(0)
    assert torch.allclose(shares, wanted, atol=0.035)


def test_a_picture_follows_from_its_seed_and_number_alone():
    network = network_of(TRIPLE)
    few, many, other = (sample(network, n, label=1, guidance=2.0, seed=s) for n, s in ((2, 5), (5, 5), (2, 6)))
    assert torch.equal(few.indices, many.indices[:2]) and torch.equal(few.levels, many.levels[:2])
    assert not torch.equal(few.indices, other.indices)


def test_settings_of_sampling_do_what_they_say():
    network = network_of(DUAL)
    # A likeliest code each time, with the positions' own noise.
    greedy, cold = sample(network, 4, top_k=1, seed=1), sample(network, 4, temperature=1e-4, seed=1)
    assert torch.equal(greedy.indices, cold.indices)
    certain = sample(network, 4, top_p=1e-6, position_top_k=1, seed=1)
    assert torch.equal(certain.indices[0], certain.indices[3])
    # Guidance 0 ignores the class, 1 is the class.
    plain, ignored = sample(network, 4, seed=1), sample(network, 4, label=2, guidance=0.0, seed=1)
    assert torch.equal(plain.indices, ignored.indices)
    assert not torch.equal(plain.indices, sample(network, 4, label=2, seed=1).indices)
    for wrong in ({"label": 3}, {"temperature": 0.0}, {"top_p": 0.0}, {"top_k": -1}):
        with pytest.raises(GenerateError):
            sample(network, 1, **wrong)


def test_base_model_has_the_papers_size():
    with torch.device("meta"):
        network = PaperDQTransformer(PaperPriorConfig())
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(308.9, rel=0.01)


def test_contradictions_in_a_config_are_named():
    for wrong in ({"dim": 10, "heads": 4}, {"grains": (8, 16)}, {"grains": (16, 12)}, {"rows": 0}, {"dropout": 1.0}):
        with pytest.raises(ConfigError):
            PaperPriorConfig(**wrong)
    with pytest.raises(ConfigError, match="multiple of 16"):
        PaperPriorConfig.for_vae(PaperConfig(), 100)


@pytest.mark.parametrize("shape", [DUAL, TRIPLE], ids=["dual", "triple"])
@torch.no_grad()
def test_shared_positions_give_a_coarse_cell_the_place_of_its_first_finest_cell(shape):
    shared, own = network_of(replace(shape, share_positions=True)), network_of(shape)
    assert shared.position.weight.shape[0] < own.position.weight.shape[0]
    grid = torch.arange(shared.layout.cells(shared.layout.grains - 1))
    finest = shared.place(torch.full_like(grid, shared.layout.grains - 1), grid)  # (P, D)
    across = shared.layout.cols * shared.layout.sides[-1]
    finest = finest.view(-1, across, finest.shape[1])
    for grain, step in enumerate(shared.layout.replications):
        cells = torch.arange(shared.layout.cells(grain))
        place = shared.place(torch.full_like(cells, grain), cells)
        assert torch.equal(place, finest[::step, ::step].flatten(0, 1))
    # Beginnings of grains stay apart, and in the paper's way nothing is shared.
    starts = torch.tensor([shared.layout.cells(g) for g in range(shared.layout.grains)])
    rows = shared.place(torch.arange(len(starts)), starts)
    assert len(rows.unique(dim=0)) == len(starts)
    first = own.place(torch.arange(len(starts)), torch.zeros_like(starts))
    assert len(first.unique(dim=0)) == len(starts)
