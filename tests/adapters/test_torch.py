from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors
from ckptmgr.lifecycle import leaves

pytest.importorskip("torch", reason="cannot run here: PyTorch is not installed")

# Only now, for both need PyTorch.
import torch
from torch import nn

from ckptmgr.adapters import torch as torch_adapter
from ckptmgr.adapters.torch import release_before_step

PROGRAM = Path(__file__).parent / "torch_training.py"
TRAININGS = ("adamw_one_cycle", "sgd_multi_step", "adam_sequential", "rmsprop_plateau")


def save(directory: Path, state: Any) -> None:
    with CheckpointManager(state, directory) as manager:
        manager.save(1)


def restore(directory: Path, state: Any = None, **options: Any) -> Any:
    restored = CheckpointManager(state, directory).restore(**options)
    assert restored is not None
    return restored.state


def bits(tensor: Any) -> bytes:
    if not tensor.numel():
        return b""
    raw: bytes = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return raw


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


# --------------------------------------------------------------------------- a whole training


def run_program(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """One that goes through, and one of another process that goes on from its middle."""
    run = tmp_path_factory.mktemp("run")
    return run_program(run, 1, 9, 4), run_program(run, 2, 9)


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize(
    "part", ["model", "optimizer", "scheduler", "scaler", "data", "random"], ids=str
)
def test_a_resumed_training_is_the_same_to_the_bit(
    trainings: tuple[dict[str, Any], dict[str, Any]], name: str, part: str
) -> None:
    whole, resumed = trainings
    assert resumed[name][part] == whole[name][part]


def test_without_its_checkpoint_it_would_be_another(
    trainings: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    whole, _ = trainings
    other = run_program(tmp_path, 2, 9)
    for name in TRAININGS:
        assert other[name]["model"].keys() == whole[name]["model"].keys()
        assert other[name]["model"] != whole[name]["model"]


# --------------------------------------------------------------------------- tensors

DTYPES = {
    "float32": "float32",
    "float64": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "float8_e4m3fn",
    "float8_e4m3fnuz": "float8_e4m3fnuz",
    "float8_e5m2": "float8_e5m2",
    "float8_e5m2fnuz": "float8_e5m2fnuz",
    "bool": "bool",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "complex64": "complex64",
    "complex128": "complex128",
}


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
@pytest.mark.parametrize(("name", "stored"), DTYPES.items())
def test_dtypes(tmp_path: Path, name: str, stored: str, shape: tuple[int, ...]) -> None:
    dtype = getattr(torch, name)
    count = int(np.prod(shape))
    tensor = torch.arange(1, count + 1).reshape(shape).to(dtype)
    save(tmp_path, {"t": tensor})
    with ckptmgr.load_checkpoint(str(tmp_path)) as reader:
        assert reader.dtype_name("t") == stored

    target = {"t": torch.zeros(shape, dtype=dtype)}
    filled = target["t"]
    assert restore(tmp_path, target) is target
    assert target["t"] is filled
    for found in (filled, restore(tmp_path)["t"]):
        assert (found.dtype, found.shape) == (dtype, tensor.shape)
        assert bits(found) == bits(tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3).T,
        torch.arange(12.0).to(torch.bfloat16).reshape(3, 4)[:, ::2],
        torch.arange(3.0).expand(2, 3),
        torch.tensor([1 + 2j, 3 - 1j]).conj(),
        torch.tensor([1 + 2j, 3 - 1j]).conj().imag,
        torch.ones(3, requires_grad=True) * 2,
        torch.ones(3, requires_grad=True),
    ],
    ids=["transposed", "strided", "expanded", "conjugate", "negative", "in a graph", "leaf"],
)
def test_tensors_that_are_not_plain(tmp_path: Path, tensor: Any) -> None:
    save(tmp_path, {"t": tensor})
    assert torch.equal(restore(tmp_path)["t"], tensor)
    assert torch.equal(restore(tmp_path, {"t": torch.zeros_like(tensor.detach())})["t"], tensor)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_an_array_that_pytorch_could_not_hold_is_copied(dtype: Any) -> None:
    read_only = np.arange(3).astype(dtype)
    read_only.flags.writeable = False
    for array in (read_only, read_only[::-1]):
        tensor = leaves.decode_leaf("torch", array)
        assert tensor.tolist() == array.tolist()
        tensor.fill_(7)
    assert read_only.tolist() == [0, 1, 2]


def test_a_default_device_refuses_no_dtype_of_the_cpu(tmp_path: Path) -> None:
    state = {"w": torch.ones(3, dtype=torch.float16), "b": torch.ones(3, dtype=torch.bfloat16)}
    torch_adapter._held_as.cache_clear()  # it asks PyTorch once for each dtype
    with torch.device("meta"):
        save(tmp_path, state)
        state["w"].zero_()
        restored = restore(tmp_path, state)
    assert restored["w"].tolist() == [1, 1, 1]


def test_a_tensor_with_strides_is_filled(tmp_path: Path) -> None:
    save(tmp_path, {"t": torch.arange(6.0).reshape(2, 3)})
    whole = torch.zeros(3, 4)
    restore(tmp_path, {"t": whole[:, ::2].T})
    assert whole.tolist() == [[0, 0, 3, 0], [1, 0, 4, 0], [2, 0, 5, 0]]


def test_a_parameter_stays_itself(tmp_path: Path) -> None:
    save(tmp_path, {"p": torch.full((2,), 7.0)})
    target = {"p": nn.Parameter(torch.zeros(2))}
    parameter = target["p"]
    restore(tmp_path, target)
    assert target["p"] is parameter
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.tolist() == [7, 7]


def test_what_was_made_in_inference_mode_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, {"t": torch.ones(2)})
    with torch.inference_mode():
        target = {"t": torch.zeros(2)}
    restore(tmp_path, target)
    assert target["t"].tolist() == [1, 1]


class Marked(torch.Tensor):  # type: ignore[misc]
    pass


def test_an_expanded_tensor_is_replaced(tmp_path: Path) -> None:
    state = {"a": np.ones(2), "w": torch.arange(3.0)}
    save(tmp_path, state)
    target = {"a": np.zeros(2), "w": torch.zeros(1).expand(3)}
    own = target["w"]
    assert restore(tmp_path, target)["w"].tolist() == [0, 1, 2]
    assert own.tolist() == [0, 0, 0]


def test_a_subclass_is_a_tensor(tmp_path: Path) -> None:
    save(tmp_path, {"t": torch.ones(2).as_subclass(Marked)})
    target = {"t": torch.zeros(2).as_subclass(Marked)}
    restore(tmp_path, target)
    assert type(target["t"]) is Marked
    assert target["t"].tolist() == [1, 1]


def quantised() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to be removed
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "way_out"),
    [
        (lambda: torch.eye(2).to_sparse(), "to_dense()"),
        (lambda: torch.zeros(2, device="meta"), "to_empty"),
        (quantised, "int_repr()"),
        (lambda: nn.LazyLinear(2).weight, "run the module once"),
        (lambda: torch.zeros(2).to(torch.float8_e8m0fnu), "tensor.view(torch.uint8)"),
        (lambda: torch.empty(2, dtype=torch.float4_e2m1fn_x2), "tensor.view(torch.uint8)"),
        (lambda: torch.nested.nested_tensor([torch.ones(1)], layout=torch.jagged), "unbind()"),
    ],
    ids=["sparse", "meta", "quantised", "lazy", "float8_e8m0fnu", "float4", "nested"],
)
def test_refused_with_a_way_out(tmp_path: Path, make: Any, way_out: str) -> None:
    leaf = make()
    with pytest.raises(errors.UnsupportedLeaf, match="leaf 'a/t' cannot be saved") as caught:
        save(tmp_path / "run", {"a": {"t": leaf}})
    assert way_out in str(caught.value)
    assert not (tmp_path / "run").exists()

    save(tmp_path, {"x": torch.ones(2), "a": {"t": torch.ones(2)}})
    target = {"x": torch.zeros(2), "a": {"t": leaf}}
    with pytest.raises(errors.UnsupportedLeaf, match="leaf 'a/t'"):
        restore(tmp_path, target)
    assert target["x"].tolist() == [0, 0]


# A DTensor needs a process group, which needs the network; what tells it is its method.
class Spread(torch.Tensor):  # type: ignore[misc]
    def full_tensor(self) -> Any:
        return self


def test_a_spread_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.UnsupportedLeaf, match="full_tensor\\(\\) from one of them"):
        save(tmp_path, {"t": torch.ones(2).as_subclass(Spread)})


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (torch.zeros(3), errors.ShapeMismatch, "tensor 't': wanted shape (3,), found (2,) in"),
        (
            torch.zeros(2, dtype=torch.bfloat16),
            errors.DtypeMismatch,
            "tensor 't': wanted dtype bfloat16, found dtype float32 in",
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(
    tmp_path: Path, target: Any, error: type[Exception], message: str
) -> None:
    save(tmp_path, {"a": torch.ones(1), "t": torch.ones(2)})
    other = torch.zeros(1)
    with pytest.raises(error) as caught:
        restore(tmp_path, {"a": other, "t": target})
    assert message in str(caught.value)
    assert other.tolist() == [0]


# --------------------------------------------------------------------------- random generators


def test_a_generator_goes_on(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    save(tmp_path, {"g": generator})
    expected = torch.rand(5, generator=generator)

    target = {"g": torch.Generator()}
    own = target["g"]
    restore(tmp_path, target)
    assert target["g"] is own
    for found in (own, restore(tmp_path)["g"]):
        assert torch.equal(torch.rand(5, generator=found), expected)


def test_a_generator_of_another_device_comes_back_as_its_state() -> None:
    state = np.arange(16, dtype=np.uint8)
    found = leaves.decode_leaf("torch:generator:cuda", state)
    assert found.tolist() == state.tolist()
    with pytest.raises(errors.MalformedMetadata, match="expected torch:generator:cpu"):
        leaves.decode_leaf("torch:generator:cpu", state)


def test_the_state_of_the_global_generator(tmp_path: Path) -> None:
    torch.manual_seed(11)
    save(tmp_path, {"random": torch.get_rng_state()})
    expected = torch.rand(3)
    torch.manual_seed(12)
    torch.set_rng_state(restore(tmp_path, {"random": torch.get_rng_state()})["random"])
    assert torch.equal(torch.rand(3), expected)


# --------------------------------------------------------------------------- objects


def test_a_state_dict_as_target_is_the_network(tmp_path: Path) -> None:
    source, target = network(1), network(2)
    save(tmp_path, source.state_dict())
    restore(tmp_path, target.state_dict())
    for own, other in zip(target.parameters(), source.parameters(), strict=True):
        assert torch.equal(own, other)


def test_a_network_alone_is_a_state(tmp_path: Path) -> None:
    source, target = network(1), network(2)
    save(tmp_path, source)
    assert restore(tmp_path, target) is target
    assert {k: bits(v) for k, v in target.state_dict().items()} == {
        k: bits(v) for k, v in source.state_dict().items()
    }
    assert isinstance(restore(tmp_path)["0.weight"], torch.Tensor)


def test_what_numpy_saved_fills_a_network(tmp_path: Path) -> None:
    weights = {
        name: np.full(value.shape, 2, str(value.dtype).removeprefix("torch."))
        for name, value in network().state_dict().items()
    }
    save(tmp_path, {"model": weights})
    target = network()
    restore(tmp_path, {"model": target})
    assert all(bool((value == 2).all()) for value in target.state_dict().values())


class Averages:
    """Speaks PyTorch's protocol with arrays of NumPy's."""

    def __init__(self) -> None:
        self.mean: Any = np.zeros(2)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean = state["mean"]


def test_an_object_gets_the_arrays_that_it_has(tmp_path: Path) -> None:
    save(tmp_path, {"averages": {"mean": torch.ones(2, dtype=torch.float64)}})
    averages = Averages()
    restore(tmp_path, {"averages": averages})
    assert isinstance(averages.mean, np.ndarray)
    assert averages.mean.tolist() == [1, 1]


def test_a_number_of_an_object_may_have_become_another_kind(tmp_path: Path) -> None:
    weights = [nn.Parameter(torch.zeros(1))]
    save(tmp_path, {"opt": torch.optim.SGD(weights, lr=0.5)})
    target = torch.optim.SGD(weights, lr=1)
    restore(tmp_path, {"opt": target})
    assert target.param_groups[0]["lr"] == 0.5


def test_optimizer_state_of_two_names_is_not_shared(tmp_path: Path) -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.Adam(weights)
    for weight in weights:
        weight.grad = torch.ones(2)
    optimizer.step()
    save(tmp_path, {"opt": optimizer})
    fresh = torch.optim.Adam(weights)
    names = {f"opt/state/1/{part}": f"opt/state/0/{part}" for part in ("exp_avg", "exp_avg_sq")}
    restore(tmp_path, {"opt": fresh}, names=names)
    first, second = (fresh.state[weight]["exp_avg"] for weight in weights)
    first.add_(1)
    assert not torch.equal(first, second)


def learning_rates(schedule: Any, optimizer: Any, count: int) -> list[float]:
    found = []
    for _ in range(count):
        optimizer.step()
        schedule.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_milestones_of_a_schedule_that_comes_second_are_not_lost(tmp_path: Path) -> None:
    def fresh() -> tuple[Any, Any]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedules = torch.optim.lr_scheduler
        parts = [schedules.ConstantLR(optimizer), schedules.MultiStepLR(optimizer, [2, 4])]
        return schedules.SequentialLR(optimizer, parts, [5]), optimizer

    schedule, optimizer = fresh()
    learning_rates(schedule, optimizer, 3)
    save(tmp_path, {"schedule": schedule, "optimizer": optimizer})
    resumed, other = fresh()
    restore(tmp_path, {"schedule": resumed, "optimizer": other})
    # The first of these steps that the second schedule takes asks its Counter for `elements()`.
    assert learning_rates(resumed, other, 8) == learning_rates(schedule, optimizer, 8)


class Versioned(nn.Module):  # type: ignore[misc]
    """Stored its weight doubled until version 3."""

    _version = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def _load_from_state_dict(self, state: Any, prefix: str, local: Any, *rest: Any) -> None:
        if local.get("version") != 3:
            state[prefix + "weight"] = state[prefix + "weight"] / 2
        super()._load_from_state_dict(state, prefix, local, *rest)


@pytest.mark.parametrize(("version", "expected"), [(3, 8), (2, 4)])
def test_a_module_hears_of_the_version_that_saved_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, expected: int
) -> None:
    source, target = nn.Sequential(Versioned()), nn.Sequential(Versioned())
    with torch.no_grad():
        source[0].weight.fill_(8)
    with monkeypatch.context() as older:
        older.setattr(Versioned, "_version", version)
        save(tmp_path, {"model": source})
    restore(tmp_path, {"model": target})
    assert target[0].weight.tolist() == [expected]
    fresh = nn.Sequential(Versioned())
    fresh.load_state_dict(restore(tmp_path)["model"])
    assert fresh[0].weight.tolist() == [expected]


def test_a_saver_fills_tensors(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.arange(3.0))
    prefix = ckptmgr.Saver({"w": weight}).save(str(tmp_path / "m"))
    assert prefix is not None
    other = nn.Parameter(torch.zeros(3))
    ckptmgr.Saver({"w": other}).restore(prefix)
    assert torch.equal(other, weight)


def test_a_process_without_torch_gets_arrays(tmp_path: Path) -> None:
    save(tmp_path, {"model": network(), "b": torch.ones(2, dtype=torch.bfloat16)})
    source = f"""
import sys, ckptmgr
state = ckptmgr.CheckpointManager(None, {str(tmp_path)!r}).restore().state
print(type(state["model"]["0.weight"]).__name__, state["b"].dtype, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["ndarray", "bfloat16", "False"]


def test_the_file_holds_the_same_numbers(tmp_path: Path) -> None:
    tensor = torch.tensor([1.5, -2, float("inf")], dtype=torch.bfloat16)
    save(tmp_path, {"t": tensor})
    found = ckptmgr.load_variable(str(tmp_path), "t")
    assert found.dtype == ml_dtypes.bfloat16
    assert found.astype(np.float32).tolist() == tensor.tolist()


# --------------------------------------------------------------------------- asynchronous saves


def test_what_changes_after_an_asynchronous_save_is_not_in_it(tmp_path: Path) -> None:
    weight = torch.zeros(1000)
    with CheckpointManager({"w": weight}, tmp_path, asynchronous=True) as manager:
        manager.save(1)
        weight.fill_(1)
    assert not restore(tmp_path)["w"].any()


class Waited:
    def __init__(self, weight: Any) -> None:
        self.weight = weight
        self.seen: list[float] = []

    def wait_staged(self) -> None:
        self.seen.append(self.weight.item())


def test_a_step_waits_before_it_changes_anything() -> None:
    weight = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1)
    manager = Waited(weight)
    handle = release_before_step(manager, optimizer)
    for _ in range(2):
        weight.grad = torch.ones(())
        optimizer.step()
    assert manager.seen == [0, -1]
    handle.remove()
    optimizer.step()
    assert manager.seen == [0, -1]


def test_a_copy_in_the_background_is_of_before_the_step(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.zeros(3_000_000))
    optimizer = torch.optim.SGD([weight], lr=1)
    weight.grad = torch.ones_like(weight)
    with CheckpointManager(
        {"w": weight}, tmp_path, asynchronous=True, copy_in_background=True, max_to_keep=None
    ) as manager:
        release_before_step(manager, optimizer)
        for step in range(1, 6):
            manager.save(step)
            optimizer.step()
    for step in range(1, 6):
        found = CheckpointManager(None, tmp_path).restore(step)
        assert found is not None
        assert (found.state["w"] == 1 - step).all()


# --------------------------------------------------------------------------- in place

LARGE = 1_000_000  # numbers: several chunks of a file


def peak_bytes(work: Callable[[], Any]) -> int:
    """Of the arrays that are made; PyTorch's own memory is not looked at."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def large(dtype: Any = torch.float32) -> Any:
    return (torch.arange(LARGE) % 251).to(dtype)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float8_e4m3fn", "bool", "complex64"])
def test_a_large_tensor_is_read_where_it_is(tmp_path: Path, name: str) -> None:
    dtype = getattr(torch, name)
    tensors = {str(i): large(dtype) for i in range(8)}
    save(tmp_path, tensors)
    targets = {key: torch.zeros(LARGE, dtype=dtype) for key in tensors}
    before = dict(targets)
    assert peak_bytes(lambda: restore(tmp_path, targets)) < 4 << 20
    for key, tensor in tensors.items():
        assert targets[key] is before[key]
        assert bits(targets[key]) == bits(tensor)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(LARGE, 2)[:, 0],
        lambda: torch.zeros(LARGE, dtype=torch.complex64).imag,
        lambda: torch.zeros(LARGE).as_subclass(Marked),
        lambda: nn.Parameter(torch.zeros(LARGE)),
        lambda: nn.Parameter(torch.zeros(LARGE, 2))[:, 0],
        lambda: torch.zeros(LARGE, requires_grad=True) * 2,
        lambda: torch.zeros(3, LARGE)[1],
    ],
    ids=[
        "strided",
        "imaginary",
        "subclass",
        "parameter",
        "in a graph, strided",
        "in a graph",
        "row",
    ],
)
def test_any_large_tensor_is_filled(tmp_path: Path, make: Any) -> None:
    save(tmp_path, {"t": large()})
    target = {"t": make()}
    tensor = target["t"]
    restore(tmp_path, target)
    assert target["t"] is tensor
    assert torch.equal(tensor.detach().as_subclass(torch.Tensor), large())


def test_one_of_inference_mode_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, {"t": large()})
    with torch.inference_mode():
        target = {"t": torch.zeros(LARGE)}
    restore(tmp_path, target)
    assert torch.equal(target["t"], large())


def test_damage_changes_no_tensor(tmp_path: Path) -> None:
    save(tmp_path, {"a": large(), "m": nn.Linear(1000, 100), "z": large()})
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    model = nn.Linear(1000, 100)
    before = bits(model.weight)
    target = {"a": torch.zeros(LARGE), "m": model, "z": torch.zeros(2, LARGE).T[:, 0]}
    with pytest.raises(errors.ChecksumMismatch):
        CheckpointManager(target, tmp_path).restore(1)
    assert not target["a"].any()
    assert not target["z"].any()
    assert bits(model.weight) == before


@pytest.mark.parametrize("size", [3, LARGE])
def test_autograd_hears_of_it(tmp_path: Path, size: int) -> None:
    save(tmp_path, {"w": torch.ones(size)})
    weight = torch.zeros(size, requires_grad=True)
    loss = (weight * weight).sum()
    restore(tmp_path, {"w": weight})
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_tied_weights(tmp_path: Path) -> None:
    def tied() -> Any:
        model = nn.ModuleDict(
            {"in": nn.Embedding(1000, 100), "out": nn.Linear(100, 1000, bias=False)}
        )
        model["out"].weight = model["in"].weight
        return model

    source, target = tied(), tied()
    save(tmp_path, {"model": source, "weights": [source["in"].weight]})
    restore(tmp_path, {"model": target, "weights": [target["in"].weight]})
    assert target["out"].weight is target["in"].weight
    assert torch.equal(target["out"].weight, source["in"].weight)


# --------------------------------------------------------------------------- modules in place


def wide() -> Any:
    return nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(8)), nn.BatchNorm1d(1000))


def test_a_module_is_filled_without_a_copy(tmp_path: Path) -> None:
    source, target = wide(), wide()
    source(torch.ones(2, 1000))  # so that the averages are not as they were
    save(tmp_path, {"model": source})
    parameters = list(target.parameters())
    assert peak_bytes(lambda: restore(tmp_path, {"model": target})) < 4 << 20
    assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))
    for parameter, own in zip(parameters, target.parameters(), strict=True):
        assert parameter is own
        assert parameter.requires_grad


class Doubles(nn.Linear):  # type: ignore[misc]
    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        state[prefix + "weight"] = state[prefix + "weight"] * 2
        super()._load_from_state_dict(state, prefix, *rest)


class DoublesAll(nn.Linear):  # type: ignore[misc]
    def load_state_dict(self, state: Any, *options: Any) -> Any:
        return super().load_state_dict({key: value * 2 for key, value in state.items()}, *options)


def with_hook(kind: str) -> Any:
    model = nn.Linear(3, 3)

    def before(_: Any, state: Any, prefix: str, *rest: Any) -> None:
        state[prefix + "weight"] = state[prefix + "weight"] * 2

    def after(module: Any, _: Any) -> None:
        with torch.no_grad():
            module.weight.mul_(2)

    if kind == "before":
        model.register_load_state_dict_pre_hook(before)
    else:
        model.register_load_state_dict_post_hook(after)
    return model


def with_method_of_its_own() -> Any:
    model = nn.Linear(3, 3)
    load = model.load_state_dict
    model.load_state_dict = lambda state: load({key: value * 2 for key, value in state.items()})
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: Doubles(3, 3),
        lambda: nn.Sequential(Doubles(3, 3))[0],
        lambda: with_hook("before"),
        lambda: with_hook("after"),
        lambda: DoublesAll(3, 3),
        with_method_of_its_own,
    ],
    ids=["override", "in another", "hook before", "hook after", "load_state_dict", "instance"],
)
def test_a_module_that_does_more_than_copy_is_asked_to(tmp_path: Path, make: Any) -> None:
    source, target = nn.Linear(3, 3), make()
    save(tmp_path, {"model": source})
    restore(tmp_path, {"model": target})
    assert torch.equal(target.weight, source.weight * 2)


def test_a_module_judges_what_is_missing_or_too_much(tmp_path: Path) -> None:
    save(tmp_path, {"model": {"weight": torch.ones(3, 3)}, "a": torch.ones(LARGE)})
    model, other = nn.Linear(3, 3), torch.zeros(LARGE)
    with pytest.raises(errors.StateRefused, match="(?s)'model' \\(Linear\\).*Missing key.*bias"):
        restore(tmp_path, {"model": model, "a": other})
    assert not other.any()


def test_an_optimizer_that_refuses_leaves_the_module(tmp_path: Path) -> None:
    def training(**options: Any) -> dict[str, Any]:
        model = nn.Linear(3, 3)
        return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=1, **options)}

    save(tmp_path, training())
    target = training()
    target["optimizer"].add_param_group({"params": [torch.zeros(1)]})
    before = bits(target["model"].weight)
    with pytest.raises(
        errors.StateRefused, match="'optimizer' \\(SGD\\).*nothing else has changed"
    ):
        restore(tmp_path, target)
    assert bits(target["model"].weight) == before


def test_a_module_without_a_recorded_structure_and_with_other_names(tmp_path: Path) -> None:
    source, target = nn.Linear(3, 3), nn.Linear(3, 3)
    saver = ckptmgr.Saver({"old/weight": source.weight, "old/bias": source.bias})
    saver.save(str(tmp_path / "model.ckpt"), global_step=1)
    names = {"m/weight": "old/weight", "m/bias": "old/bias"}
    CheckpointManager({"m": target}, tmp_path).restore(names=names)
    assert torch.equal(target.weight, source.weight)
    assert torch.equal(target.bias, source.bias)
