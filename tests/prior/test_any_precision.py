from threading import Barrier, Thread

import pytest
import torch

from dqcodec.prior import integers


@pytest.fixture(autouse=True)
def kept():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("setting", ["highest", "high", "medium"])
def test_the_setting_is_as_it_was_afterwards(setting):
    torch.set_float32_matmul_precision(setting)
    with pytest.raises(KeyError), integers._any_precision:
        assert torch.get_float32_matmul_precision() == "medium"
        raise KeyError
    assert torch.get_float32_matmul_precision() == setting


def test_threads_that_overlap_restore_it_too():
    torch.set_float32_matmul_precision("highest")
    both_in, first_out, seen = Barrier(2), Barrier(2), []

    def first():
        with integers._any_precision:
            both_in.wait()
        first_out.wait()

    def second():
        with integers._any_precision:
            both_in.wait()
            first_out.wait()
            seen.append(torch.get_float32_matmul_precision())

    threads = [Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["medium"] and torch.get_float32_matmul_precision() == "highest"


def test_products_of_integers_are_exact_in_any_precision():
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randint(-127, 128, (6, 4, 96, 48), generator=draw).float() for _ in range(3))
    e = torch.randint(0, 64, (6, 4, 96, 96), generator=draw).float()
    with integers._any_precision:
        score, total = (q * 2.0**-5) @ k.transpose(-1, -2), e @ v
    assert torch.equal(score.double(), (q.double() * 2.0**-5) @ k.double().transpose(-1, -2))
    assert torch.equal(total.double(), e.double() @ v.double())
