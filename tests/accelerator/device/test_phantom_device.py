"""The phantom device is another device: what it refuses, what it counts, and that its own kernels are right."""

from __future__ import annotations

import copy
import io

import phantom
import pytest
import torch
from torch import Tensor, nn

_HERE = "tests/accelerator/device/test_phantom_device.py"


def test_tensors_of_two_devices_do_not_mix(device) -> None:
    here, there = torch.ones(2, 3), torch.ones(2, 3, device=device)
    for mixing in (
        lambda: there + here,
        lambda: torch.cat([here, there]),
        lambda: there @ here.T,
        lambda: here[there.long()],
    ):
        with pytest.raises(RuntimeError, match=r"same device"):
            mixing()
    assert (there + torch.tensor(2.0)).device.type == "phantom"  # a number goes along
    with pytest.raises(TypeError, match=r"Tensor\.cpu"):
        there.numpy()


def test_what_makes_the_host_wait_is_counted(device) -> None:
    x = torch.arange(6.0, device=device)
    for used, expected in (
        (lambda: x.cpu(), phantom.Traffic(to_host=1)),
        (lambda: x.tolist(), phantom.Traffic(to_host=1)),
        (lambda: float(x[0]), phantom.Traffic(items=1)),
        (lambda: bool((x > 1).all()), phantom.Traffic(items=1)),
        (lambda: x[x > 3], phantom.Traffic(sizes=1)),
        (lambda: x.unique(), phantom.Traffic(sizes=1)),
        (lambda: torch.tensor([1.0, 2.0], device=device), phantom.Traffic(to_device=1)),
        (lambda: x[torch.tensor([1, 2])], phantom.Traffic(to_device=1)),
        (lambda: x.masked_fill(x > 3, 0).softmax(-1).to(torch.float64).topk(2), phantom.Traffic()),
        (lambda: torch.cat([x, torch.zeros_like(x)]).view(2, 6).sum(0).sort(), phantom.Traffic()),
    ):
        with phantom.counted() as seen:
            used()
        assert seen == [expected]


def test_generators_belong_to_the_device_and_are_reproducible(device) -> None:
    def draw() -> Tensor:
        return torch.rand(5, device=device, generator=torch.Generator(device).manual_seed(3))

    assert torch.equal(draw(), draw())
    assert not torch.equal(draw().cpu(), torch.rand(5, generator=torch.Generator().manual_seed(3)))  # as on a GPU
    with pytest.raises(RuntimeError, match="'phantom' device type for generator"):
        torch.rand(5, device=device, generator=torch.Generator())
    generator = torch.Generator(device)
    state, first = generator.get_state(), torch.randn(3, device=device, generator=generator)
    generator.set_state(state)
    assert torch.equal(first, torch.randn(3, device=device, generator=generator))
    torch.manual_seed(0)
    once = torch.randn(2, device=device)
    torch.manual_seed(0)
    assert torch.equal(once, torch.randn(2, device=device))


def test_kernels_of_its_own_equal_the_cpus(device) -> None:
    x = torch.randn(2, 6, 4)
    for layer in (nn.GRU(4, 3, batch_first=True), nn.GRU(4, 3, bias=False, batch_first=True), nn.Conv1d(6, 2, 3)):
        there = copy.deepcopy(layer).to(device)
        results = [module(inputs) for module, inputs in ((layer, x), (there, x.to(device)))]
        results = [r[0] if isinstance(r, tuple) else r for r in results]
        torch.testing.assert_close(results[1].cpu(), results[0])
        for result in results:
            result.square().sum().backward()
        for mine, its in zip(layer.parameters(), there.parameters(), strict=True):
            torch.testing.assert_close(its.grad.cpu(), mine.grad, atol=1e-5, rtol=1e-5)
    values = torch.zeros(3, 4, device=device)
    values[[0, 2], :2] = 1.0
    values[values == 0] = torch.arange(8.0, device=device)
    assert values.tolist() == [[1, 1, 0, 1], [2, 3, 4, 5], [1, 1, 6, 7]]


def test_sizes_and_views_are_the_devices_too(device) -> None:
    x = torch.arange(6, device=device)
    out = torch.empty(0, dtype=torch.int64, device=device)
    torch.add(x, 1, out=out)
    assert out.tolist() == [1, 2, 3, 4, 5, 6]
    x.view(2, 3).T[1:, 1:].fill_(9)
    assert x.tolist() == [0, 1, 2, 3, 9, 9]
    assert x.view(2, 3).select(0, 1).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_modules_are_copied_saved_and_cast(device) -> None:
    layer = nn.Linear(3, 3).to(device)
    assert torch.equal(copy.deepcopy(layer).weight, layer.weight)
    tied = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    tied[1].weight = tied[0].weight
    tied.to(device)
    assert tied[1].weight is tied[0].weight
    assert tied[1].weight.device.type == device.type
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    for place in (None, "cpu"):
        file.seek(0)
        state = torch.load(file, weights_only=True, map_location=place)
        assert state["weight"].device.type == (place or "phantom")
        assert torch.equal(state["weight"].cpu(), layer.weight.cpu())
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert layer(torch.ones(1, 3, device=device)).dtype == torch.bfloat16
        assert layer.weight.softmax(-1).dtype == torch.float32


def test_arithmetic_on_the_host_is_found(device) -> None:
    layer, x = nn.Linear(3, 3), torch.ones(2, 3)
    there = copy.deepcopy(layer).to(device)
    with phantom.HostArithmetic() as host:
        there(x.to(device)).sum().backward()
        nn.functional.scaled_dot_product_attention(*(torch.ones(1, 1, 2, 4, device=device) for _ in range(3)))
        x.exp()  # bookkeeping is no arithmetic
    assert not host.found
    with phantom.HostArithmetic() as host:
        layer(x)
    assert [(at.split(":")[0], n) for at, n in host.found.items()] == [(f"addmm at {_HERE}", 1)]


def test_the_lines_that_wait_are_named(device) -> None:
    x = torch.arange(6.0, device=device)
    with phantom.Places() as places:
        for _ in range(3):
            float(x[0])
        x.sum()
    ((at, waits),) = places.waits.items()
    assert at.startswith(f"{_HERE}:")
    assert at.endswith("float(x[0])")
    assert waits == 3
