"""Write this folder's files by today's code: run it for a new version of a format, and commit what is new.

`python tests/golden/golden_files.py` leaves files that are there as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch

from firetree import models
from firetree.deep_compression.share import prune_and_share
from firetree.modelfiles import Model, Preprocessing, load_model
from firetree.modelfiles.fire.coders import CODERS
from firetree.modelfiles.fire.container import VERSION
from firetree.modelfiles.fire.fire import write
from firetree.modelfiles.fire.shared import keep_exactly
from firetree.modelfiles.onnx_export import as_onnx

FOLDER = Path(__file__).parent
ANSWERS = FOLDER / "answers.json"


def model(**fields: object) -> Model:
    torch.manual_seed(0)
    network = models.build("squeezenet_small", classes=3, channels=1, size=16, **fields)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2).add_(0.01)  # so that answers depend on every layer
    preprocessing = Preprocessing(18, False, 16, "RGB", (120.0,), (60.0,))
    classes = ("cat", "dog", "eel, fish")
    return Model("squeezenet_small", dict(network.state_dict()), preprocessing, fields, classes)


def contents() -> Iterator[tuple[str, bytes]]:
    narrow = model(base_e=8, incr_e=4, squeeze_ratio=0.5)
    for coder in CODERS:
        yield f"lossless-{coder}-v{VERSION}.fire", write(keep_exactly(narrow), coder)
        shared = prune_and_share(model(), density=0.1, bits=3)
        yield f"shared-{coder}-v{VERSION}.fire", write(shared, coder)
    exported = onnx.load_from_string(as_onnx(narrow))
    told = {entry.key: entry.value for entry in exported.metadata_props}
    yield "onnx-metadata.json", json.dumps(told, indent=1).encode()


def answer(found: Model) -> dict[str, Any]:
    """What a model holds and says, as JSON has it."""
    weights = hashlib.sha256()
    for name, tensor in found.state.items():
        weights.update(name.encode() + tensor.numpy().astype("<f4").tobytes())
    x_BCHW = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
    return {
        "network": found.network,
        "fields": dict(found.fields),
        "classes": list(found.classes),
        "crop": found.preprocessing.crop,
        "resize": found.preprocessing.resize,
        "weights": weights.hexdigest(),
        "logits": [round(logit, 5) for logit in found.build()(x_BCHW)[0].tolist()],
    }


if __name__ == "__main__":
    answers = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    for name, content in contents():
        path = FOLDER / name
        if not path.exists():
            path.write_bytes(content)
            if path.suffix == ".fire":
                answers[name] = answer(load_model(path))
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n")
