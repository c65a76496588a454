import sys

import pytest
import torch

from clmeeval_data.evaluation.scoring.cost import measured


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory on the CPU is read from /proc")
def test_the_peak_is_what_the_block_takes_even_after_larger_work_before_it():
    before = [torch.ones(25_000) for _ in range(2_000)]  # 200 MB in pieces that the allocator keeps when they are freed
    del before
    with measured(torch.device("cpu")) as cost:
        held = [torch.ones(25_000) for _ in range(600)]  # 60 MB
        del held
    assert 50e6 < cost.peak_bytes < 90e6
    assert cost.seconds > 0


def test_time_is_measured_when_the_block_fails():
    with pytest.raises(RuntimeError), measured(torch.device("cpu")) as cost:
        raise RuntimeError
    assert cost.seconds > 0
