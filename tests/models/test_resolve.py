"""Networks by name or from a file of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest
import torch
from torch import nn

from firetree.errors import UserError
from firetree.models import language, parameter_count, recurrent, seq2seq
from firetree.models.cost import cost
from firetree.models.resolve import resolve
from firetree.models.timing import measure

OWN = """
import torch
from torch import nn

not_a_function = 3

def plain():
    return nn.Conv2d(3, 5, 3)

def with_example():
    return nn.Linear(6, 2), torch.zeros(4, 6)

def number():
    return 7

def bad_example():
    return nn.Linear(6, 2), "six"

def scalar_example():
    return nn.Linear(6, 2), torch.tensor(1.0)

def raises():
    raise ValueError("no\\nweights")

def exits():
    raise SystemExit(3)

def needs_more(width):
    return nn.Linear(width, 2)
"""


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A current directory with modules of the user's own, forgotten afterwards."""
    files = {"own_network": OWN, "own_broken": "1 / 0", "own_import": "import no_such_package"}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])
    yield
    for name in files:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "size", "classes", "pixels"),
    [
        ("squeezenet_v1_1", None, 1000, 227),
        ("squeezenet_small", None, 10, 32),
        ("googlenet", None, 1000, 224),
        ("nin", 64, 1000, 64),
    ],
)
def test_ours_come_with_images_of_their_papers_size(
    name: str, size: int | None, classes: int, pixels: int
) -> None:
    module, example = resolve(name, 2, size)
    assert module.training
    assert example.shape == (2, 3, pixels, pixels)
    assert module.eval()(example[:, :, :64, :64] if pixels > 64 else example).shape == (2, classes)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("glimpses_lstm", (2, 1, 28, 28)),
        *((name, (2, 11)) for name in recurrent.names()),
        *((name, (2, 2, 8)) for name in seq2seq.names()),
        ("gpt", (2, 128)),
        *(pytest.param(name, (2, 128), marks=pytest.mark.slow) for name in language.names()[1:]),
    ],
)
def test_networks_for_sequences_come_with_theirs_and_can_be_weighed_and_timed(
    name: str, shape: tuple[int, ...]
) -> None:
    module, example = resolve(name, 2, None)
    assert example.shape == shape
    assert sum(layer.weight_bytes for layer in cost(module, example).layers) == 4 * (
        parameter_count(module)
    )
    profile = measure(module, example, repeats=1)
    assert {gradient.name for gradient in profile.gradients} == {
        parameter_name for parameter_name, _ in module.named_parameters()
    }
    with pytest.raises(UserError, match="has one size of input"):
        resolve(name, 2, 64)


@pytest.mark.parametrize(("size", "pixels"), [(None, 224), (40, 40)])
def test_a_function_in_the_current_directory_gives_the_network(
    size: int | None, pixels: int
) -> None:
    module, example = resolve("own_network:plain", 2, size)
    assert isinstance(module, nn.Conv2d)
    assert example.shape == (2, 3, pixels, pixels)


def test_a_functions_own_example_stays_as_it_is() -> None:
    module, example = resolve("own_network:with_example", 2, 40)
    assert isinstance(module, nn.Linear)
    assert torch.equal(example, torch.zeros(4, 6))


def two_inputs() -> nn.Module:
    return nn.Bilinear(3, 4, 2)


def test_a_function_or_a_network_is_called_with_the_example_that_is_given() -> None:
    first, second = torch.ones(5, 3), torch.ones(5, 4)
    for model in (two_inputs, two_inputs()):
        for example in ((first, second), {"input1": first, "input2": second}):
            module, given = resolve(model, 2, None, example)
            assert given is example
            [gradient, _] = sorted(
                measure(module, given, repeats=1).gradients,
                key=attrgetter("size_bytes"),
                reverse=True,
            )
            assert gradient.size_bytes == 4 * 3 * 4 * 2
            assert cost(module, given).layers[0].activations == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("googlenett", "no network 'googlenett'; did you mean 'googlenet'?"),
        ("no_such:build", "no module 'no_such' in "),
        ("own_network.deeper:build", "no module 'own_network.deeper'"),
        (":build", "module ''"),
        ("../own_network:build", "module '../own_network' cannot be; expected a name"),
        ("own_broken:build", "module 'own_broken' could not be imported: ZeroDivisionError"),
        ("own_import:build", "could not be imported: ModuleNotFoundError: No module named"),
        ("own_network:plan", "module 'own_network' has no function 'plan'; did you mean 'plain'?"),
        ("own_network:", "module 'own_network' has no function ''"),
        ("own_network:not_a_function", "is a value of type int; expected a function"),
        ("own_network:number", "gave a value of type int; expected a torch.nn.Module"),
        ("own_network:bad_example", "has a value of type str as its example; expected a tensor"),
        ("own_network:scalar_example", "as its example; expected a tensor, a tuple or a mapping"),
        ("own_network:raises", "own_network:raises failed: ValueError: no weights"),
        ("own_network:exits", "own_network:exits failed: SystemExit"),
        ("own_network:needs_more", "own_network:needs_more failed: TypeError"),
    ],
)
def test_what_gives_no_network_is_refused_in_one_line(path: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        resolve(path, 1, None)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("batch", "size", "message"),
    [(0, None, "batch is 0"), (1, 7, "size is 7; expected at least 8"), (-1, 32, "batch is -1")],
)
def test_batches_and_sizes_that_cannot_be_are_refused(
    batch: int, size: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resolve("nin", batch, size)
