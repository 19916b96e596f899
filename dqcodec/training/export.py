"""From a checkpoint to a model file: averaged weights, and tables counted over training pictures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dqcodec.bitstream.frequencies import quantise_counts
from dqcodec.bitstream.static_tables import StaticTables
from dqcodec.bitstream.tokens import ABSENT
from dqcodec.errors import ConfigError, DataError
from dqcodec.models.config import CodecConfig
from dqcodec.models.detail import Detail, DetailConfig
from dqcodec.models.dqvae import DQVAE
from dqcodec.models.ladder import expand
from dqcodec.models.sampling import sample_levels
from dqcodec.models.softness import Softness
from dqcodec.prior.batch import pack
from dqcodec.prior.config import PriorConfig
from dqcodec.prior.network import DQTransformer
from dqcodec.prior.quantised import quantised
from dqcodec.training import checkpoint, detail_config
from dqcodec.training.amount import fit_amount
from dqcodec.training.config import DataConfig
from dqcodec.training.data import Batches, Pictures
from dqcodec.training.detail_trainer import FrozenModels, likely_detail
from dqcodec.training.prior_trainer import TOKENS, losses
from dqcodec.training.soft_trainer import plain_vae
from dqcodec.training.token_cache import TokenCache, Views, load_or_encode
from dqcodec.weights import detail_file, model_file, registry, soft_file
from dqcodec.weights.fingerprint import PRIOR, QUANTIZER
from dqcodec.weights.loans import read_whole
from dqcodec.weights.model_file import Model
from dqcodec.weights.realism import DECODER, REALISM, dial_tensors


def export_model(run: Path, data: list[Path], output: Path, pictures: int) -> bytes:
    """Write `output` from the averaged weights of `run`; returns the fingerprint.

    Tables, the entropy model of a DQ-VAE without a prior, come from `pictures` random crops of `data` at
    random budgets, one count added to every code, so that none is impossible. Raises ConfigError if the
    run is not of the codec's mode.
    """
    state = checkpoint.load(run)
    if state["config"]["mode"] != "codec":
        raise ConfigError(f"{run}: a run of mode {state['config']['mode']}; only codec runs make model files")
    config = CodecConfig.from_dict(state["config"]["model"])
    if config.exclusive:
        raise ConfigError(f"{run}: the format holds ladders; an exclusive model is for experiments only")
    model = DQVAE(config)
    model.load_state_dict(state["ema"])
    tables = [quantise_counts(c) for c in count_codes(model.eval(), data, pictures)]
    notes = {"steps": str(state["step"]), "hours": f"{state['elapsed'] / 3600:.2f}"}
    return model_file.write(output, config, state["ema"], tables, notes)


def export_prior(run: Path, vae: Path, output: Path) -> bytes:
    """Write `output`, the model file `vae` with the prior of `run` (averaged weights) and tables of the tokens that it
    was trained on; returns the fingerprint.

    Raises DataError if the prior was trained on the tokens of another model.
    """
    state = checkpoint.load(run)
    loaded = Model.read(vae)
    if state["vae"] != loaded.tables.fingerprint.hex():
        raise DataError(f"{run}: a prior of model {state['vae']}, but {vae} is {loaded.fingerprint.hex()}")
    config = PriorConfig.from_dict(state["prior"])
    network = DQTransformer(config)
    network.load_state_dict(state["ema"])
    tensors, header = read_whole(vae)
    dial = _dial(loaded, tensors)
    notes = {k: v for k, v in header.items() if k not in ("config", "fingerprint", "prior", "realism")}
    notes |= {"vae": state["vae"], "prior_steps": str(state["step"]), "prior_hours": f"{state['elapsed'] / 3600:.2f}"}
    cache = load_or_encode(run / TOKENS, vae, [], Views())
    tables = replace(loaded.tables, tables=tuple(quantise_counts(c) for c in count_cached(cache)))
    notes["cost_ratio"] = json.dumps(cost_ratio(network, cache, tables))
    prior = (config, quantised(network))
    plain = loaded.plain.vae.state_dict()
    return model_file.write(output, loaded.config, plain, list(tables.tables), notes, prior, dial)


def _dial(loaded: Model, tensors: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]] | None:
    """Setting and tensors of the dial of a model file of these `tensors`, None if it has none."""
    if loaded.dial is None:
        return None
    return loaded.dial.default, {k: v for k, v in tensors.items() if k.startswith(REALISM)}


def export_networks(run: Path, model: Path, output: Path, realism: float | None = None) -> bytes:
    """Write `output`, the model file `model` with the networks that `run` trained (averaged weights), a training that
    left the codebooks alone; returns the fingerprint, which stays.

    realism: None to replace the model's networks. Of a model with a dial the decoder is the plain one; the dial goes
    after a training of the decoder alone and if the decoder is of another shape, else its difference stays, on top of
    the new decoder, for the next training to start from. A number, for a training of the decoder alone, to keep the
    model's and make the run's the other end of a dial, which stands at that number unless it is turned. Raises
    DataError if the run was on other tokens, or for a number if it is none of the decoder alone.
    """
    state = checkpoint.load(run)
    loaded, (tensors, header) = Model.read(model), read_whole(model)
    old, new = loaded.plain.vae.state_dict(), state["ema"]
    books = [k for k in old if k.startswith(QUANTIZER) and not k.endswith(model_file.TRAINING_ONLY)]
    if any(k not in new or not torch.equal(old[k], new[k].float()) for k in books):
        raise DataError(f"{run}: its codebooks are not those of {model}; they were trained as well")
    trained = tuple(f"{name}." for name in state["config"]["train_only"])
    alone = trained == (DECODER,)
    config = CodecConfig.from_dict(state["config"]["model"])
    merged = {k: v for k, v in old.items() if not k.startswith(trained)}
    merged |= {k: v for k, v in new.items() if k.startswith(trained)}
    dial = None
    reshaped = any(k.startswith(DECODER) and (k not in old or old[k].shape != v.shape) for k, v in new.items())
    if not alone and loaded.dial is not None and not reshaped and realism is None:
        config = replace(loaded.config, encoder_blocks=config.encoder_blocks)
        merged, dial = old | merged, _dial(loaded, tensors)
    if realism is not None:
        # A weight that only the run has, of noise, is 0 at the other end.
        merged |= {k: old.get(k, torch.zeros_like(v)) for k, v in new.items() if k.startswith(DECODER)}
        dial = (realism, dial_tensors(merged, new))
    notes = {k: v for k, v in header.items() if k not in ("config", "fingerprint", "prior", "realism")}
    part = "decoder_" if alone else ""
    notes |= {f"{part}steps": str(state["step"]), f"{part}hours": f"{state['elapsed'] / 3600:.2f}"}
    prior = None
    if loaded.prior is not None:
        integers = {k: v for k, v in tensors.items() if k.startswith(PRIOR)}
        prior = (loaded.prior.config, {k.removeprefix(PRIOR): v for k, v in integers.items()})
    return model_file.write(output, config, merged, list(loaded.tables.tables), notes, prior, dial)


@torch.no_grad()
def cost_ratio(network: DQTransformer, cache: TokenCache, tables: StaticTables, pictures: int = 48) -> list[float]:
    """Per step, bits of the codes under the prior over bits under their table, on some cached pictures."""
    chosen = range(0, len(cache), -(-len(cache) // pictures))
    under_prior, under_table = np.zeros((2, len(network.config.factors)))
    for part in np.array_split(chosen, -(-len(chosen) // 16)):
        batch = pack(network.config, [cache.tokens(cache[i]) for i in part])
        found = losses(network.eval(), batch, quantise=True)
        for s, step in enumerate(batch.steps):
            under_prior[s] += float(found[s][0]) / math.log(2)
            under_table[s] += tables.bits(s)[step.code.numpy()].sum()
    return [round(a / b, 4) if b else 1.0 for a, b in zip(under_prior, under_table, strict=True)]


def count_cached(cache: TokenCache, pictures: int = 2000) -> list[np.ndarray]:
    """Counts (K,) int64 of every step's codes in some cached pictures, plus one."""
    counts = [np.ones(k, np.int64) for k in cache.ladder.codebook_sizes]
    for i in range(0, len(cache), -(-len(cache) // pictures)):
        for found, grid in zip(counts, cache.tokens(cache[i]).codes, strict=True):
            found += np.bincount(grid[grid != ABSENT], minlength=found.size)
    return counts


@torch.no_grad()
def count_codes(model: DQVAE, data: list[Path], pictures: int) -> list[np.ndarray]:
    """Counts (K,) int64 of every step's codes over random crops at random budgets, plus one."""
    ladder = model.ladder
    counts = [np.ones(k, np.int64) for k in ladder.codebook_sizes]
    batches = Batches(Pictures(data), DataConfig(crop=256, batch=8, grey=0.0), seed=1)
    torch.manual_seed(1)
    for step in range(-(-pictures // 8)):
        _, q, distortion = model.analyse(batches(step))
        levels = sample_levels(distortion, model.level_bits)
        for s, codes in enumerate(q.codes):
            used = codes[expand(levels >= s, ladder.side(s))].numpy()
            counts[s] += np.bincount(used, minlength=counts[s].size)
    batches.close()
    return counts


@torch.no_grad()
def export_detail(run: Path, models: list[Path], data: list[Path], output: Path, pictures: int) -> bytes:
    """Write `output`, a detail layer's file, from the averaged weights of `run`; returns its fingerprint.

    Its table comes from `pictures` random crops of `data` as the model files `models` decode them, in the
    regions that get detail first, one count added to every code.
    """
    state = checkpoint.load(run)
    config = replace(detail_config.from_dict(state["config"]), data=DataConfig(crop=256, batch=8, grey=0.0))
    net = Detail(DetailConfig(**state["detail"]))
    net.load_state_dict(state["ema"])
    net.codebook.embedding.copy_(net.codebook.embedding.half())  # as the file has it
    counts = np.ones(net.config.codes, np.int64)
    frozen = FrozenModels(models, config.realism, torch.device("cpu"))
    batches = Batches(Pictures(data), config.data, seed=1)
    torch.manual_seed(1)
    for step in range(-(-pictures // 8)):
        base = frozen(batches(step), step, sample=likely_detail)
        codes = net.quantise(base.x, base.shown)[base.present[:, 0] > 0]
        counts += np.bincount(codes.numpy(), minlength=counts.size)
    batches.close()
    notes = {"steps": str(state["step"]), "hours": f"{state['elapsed'] / 3600:.2f}"}
    return detail_file.write(output, net.config, net.state_dict(), quantise_counts(counts), notes)


@torch.no_grad()
def export_detail_network(run: Path, layer: Path, output: Path) -> bytes:
    """Write `output`, the layer file `layer` with the network of `run`, averaged; returns the fingerprint, which stays.

    Raises DataError if the run was not of that layer's network.
    """
    state, old, header = checkpoint.load(run), detail_file.read(layer), registry.read_header(layer)
    kept = {k: v for k, v in old.net.state_dict().items() if k.startswith("codebook.")}
    trained = state["model"]
    if state["detail"] != old.net.config.to_dict() or not torch.equal(trained[detail_file.CODEBOOK],
                                                                      kept[detail_file.CODEBOOK]):
        raise DataError(f"{run}: this run went on from another layer than {layer}")
    notes = {"steps": f"{header['steps']} + {state['step']}",
             "hours": f"{header['hours']} + {state['elapsed'] / 3600:.2f}"}
    return detail_file.write(output, old.net.config, state["ema"] | kept, old.table.table, notes)


@torch.no_grad()
def export_softness(run: Path, model: Path, data: list[Path], pictures: int) -> tuple[Path, float]:
    """Write the file of softness beside the model file `model` from the averaged weights of `run`; returns its path and
    the correlation, on views that took no part, of the amount that is read from pixels with the true one.

    The weights that it is read with come of `pictures` views of `data`.
    """
    state = checkpoint.load(run)
    vae = plain_vae(model)
    softness = Softness(vae.decoder, state["softness"])
    softness.load_state_dict(state["ema"])
    correlation = fit_amount(softness, data, pictures)
    notes = {"steps": str(state["step"]), "hours": f"{state['elapsed'] / 3600:.2f}", "views": str(pictures),
             "correlation": f"{correlation:.3f}"}
    path = soft_file.path_for(model).with_name(registry.name_of(model) + registry.PACKED)
    soft_file.write(path, vae, softness, notes)
    return path, correlation
