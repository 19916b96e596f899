"""Networks are computed in bfloat16 where the processor has it, and never where it would have to be emulated."""

import pytest
import torch

from dqcodec.models import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_is_what_the_processor_has(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    layer = torch.nn.Linear(3, 2)
    with precision.autocast(CPU):
        assert layer(torch.ones(1, 3)).dtype == expected


def test_an_old_torch_that_cannot_tell_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not precision.native_bfloat16(CPU)
