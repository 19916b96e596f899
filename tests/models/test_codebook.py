import torch

from dqcodec.models.codebook import Codebook, perplexity


def test_nearest_agrees_with_full_distances():
    torch.manual_seed(0)
    book = Codebook(50, 6)
    z = torch.randn(200, 6)
    assert torch.equal(book.nearest(z), torch.cdist(z, book.embedding).argmin(1))


def test_update_follows_the_data_and_revives_dead_codes():
    torch.manual_seed(0)
    book = Codebook(8, 2)
    centres = torch.tensor([[5.0, 0], [0, 5], [-5, 0], [0, -5]])
    for _ in range(300):
        book.update(centres[torch.randint(4, (64,))] + 0.05 * torch.randn(64, 2))
    gap = torch.cdist(centres, book.embedding).min(1).values
    assert gap.max() < 0.2
    assert torch.cdist(book.embedding, centres).min(1).values.max() < 0.5  # no code is left far from data


def test_restart_resets_the_moving_averages_with_the_vector():
    torch.manual_seed(0)
    book = Codebook(16, 2)
    for _ in range(400):
        book.update(torch.randn(32, 2) * 0.01)
    assert torch.allclose(book.embedding, book.ema_sum / book.ema_count[:, None], atol=1e-5)
    assert (book.ema_count > 0).all()


def test_quantise_has_no_side_effects():
    book = Codebook(8, 2)
    before = {k: v.clone() for k, v in book.state_dict().items()}
    book.quantise(torch.randn(10, 2))
    assert all(torch.equal(before[k], v) for k, v in book.state_dict().items())


def test_normalised_vectors_have_unit_length_after_updates():
    book = Codebook(8, 4, normalised=True)
    for _ in range(5):
        book.update(torch.randn(32, 4))
    assert torch.allclose(book.embedding.norm(dim=1), torch.ones(8), atol=1e-5)


def test_update_with_no_vectors_changes_no_embedding():
    book = Codebook(8, 2)
    book.update(torch.randn(32, 2))
    before = book.embedding.clone()
    book.update(torch.empty(0, 2))
    assert torch.equal(book.embedding, before)


def test_perplexity_counts_evenly_used_codes():
    assert abs(perplexity(torch.arange(10).repeat(3), 100) - 10) < 1e-3
    assert perplexity(torch.empty(0, dtype=torch.long), 100) == 0.0
