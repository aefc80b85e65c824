"""Every kind of file that firetree reads: small valid ones, how they change, and what reads them.

A case is a folder's files by name; `read` is given the folder, as a command is given paths in it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import mutations
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mutations import Mutate
from PIL import Image

from firetree import collectives, data, launch, reporting
from firetree.collectives import Schedule, prove
from firetree.commands.main import main
from firetree.commands.text.report import as_text
from firetree.data.texts import load_phonemes, load_translations
from firetree.modelfiles import Model, as_safetensors, load_model, onnx_export, read_classes
from firetree.models.profile import Gradient, Profile
from firetree.network import Network, parse_network, to_json
from firetree.planning.plan import GLOO, Prices, load_plan, make_plan
from firetree.prediction.images import find_images
from firetree.probing import Probe
from firetree.training import check_recipe, known_recipes, load_recipe, read_run, recipe_toml

Case = Mapping[str, bytes]


@dataclass(frozen=True)
class Format:
    """How one kind of file is made, changed, mended so that checksums are right, and read."""

    cases: Callable[[], list[Case]]
    mutate: Mutate | None
    """None for what the suffix of each file says."""
    read: Callable[[Path], object]
    command: tuple[str, ...] = ()
    """What the real command is asked, within the case's folder."""
    mend: Callable[[Case], Case] = dict
    changed: str = ""
    """Only files with this in their path are changed."""


def write(case: Case, folder: Path) -> None:
    """Put the case's files into the folder."""
    for name, content in case.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def single(name: str, *contents: bytes) -> Callable[[], list[Case]]:
    return lambda: [{name: content} for content in contents]


NETWORKS = (
    "8 x 1gbit",
    "2 x 1gbit + 1 x 50mbit:200mbit, 80us",
    "2 x 10gbit | 2 x 10gbit / 1gbit, 1.5ms",
)


def _schedules() -> list[Case]:
    kinds = (("ring", 4), ("binomial_tree", 3), ("hierarchical:2", 5), ("kary_tree:3", 4))
    return [{"s.json": collectives.build(*kind).to_json().encode()} for kind in kinds]


def _read_network(folder: Path) -> None:
    network = Network.load(str(folder / "n.json"))
    if network.size <= 16:
        Prices(network.first(min(4, network.size))).seconds("ring", 1 << 20)


def _plans() -> list[Case]:
    gradients = tuple(Gradient(f"layer {k}", 1 << 18, 0.01 * k) for k in range(8))
    profile = Profile(0.1, 0.1, gradients)
    networks = map(parse_network, ("3 x 1gbit", "2 x 1gbit | 2 x 1gbit / 50mbit", "4 x 100mbit"))
    made = [make_plan("a model", profile, Prices(network), (1 << 19,)) for network in networks]
    return [{"p.json": plan.to_json().encode()} for plan in made]


def _read_plan(folder: Path) -> None:
    plan = load_plan(folder / "p.json")
    plan.choice_for(1 << 20)
    for _, choice in plan.choices:
        if choice.algorithm != GLOO:
            choice.schedule(plan.world_size)


def _recipes() -> list[Case]:
    return [{"r.toml": recipe_toml(load_recipe(name)).encode()} for name in known_recipes()]


def command(arguments: Sequence[str], folder: Path, out: Path) -> int:
    """The pid of the command, forked from here, where everything is imported; it prints to `out`."""
    sys.stdout.flush()
    if not (child := os.fork()):
        os.chdir(folder)
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.argv = ["firetree", *arguments]
        main()
    return child


@cache
def _run(workers: int = 1) -> Case:
    """The files of a short run, by path."""
    with tempfile.TemporaryDirectory() as folder:
        asked = ("train", "digits", "--run-dir", "run", "--optim.steps", "3")
        asked += ("--workers", str(workers))
        out = Path(folder, "out")
        if os.waitpid(command(asked, Path(folder), out), 0)[1]:
            raise RuntimeError(out.read_text())
        files = [path for path in Path(folder, "run").rglob("*") if path.is_file()]
        held = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        return {
            name: held[name] for name in held if "tensorboard" not in name and ".lock" not in name
        }


def _right_sums(case: Case) -> Case:
    """The run with the checksums of its recipe and its checkpoints made anew."""
    mended = dict(case)
    for name, content in case.items():
        folder, _, last = name.rpartition("/")
        if last == "SHA256SUMS":
            listed = [row for row in _CHECKPOINT if f"{folder}/{row}" in case]
            sums = [f"{sha256(case[f'{folder}/{row}']).hexdigest()}  {row}\n" for row in listed]
            mended[name] = "".join(sums).encode()
        elif last == "recipe.toml":
            above, mark, _ = content.rpartition(b": ")
            mended[name] = above + mark + sha256(above[: above.rfind(b"#")]).hexdigest().encode()
    return mended


_CHECKPOINT = ("model.safetensors", "optimizer.safetensors", "state.json")


def _read_run(folder: Path) -> None:
    read_run(folder / "run")
    load_model(folder / "run")


def _unzipped(content: bytes, dice: Random) -> bytes:
    """A compressed text changed inside."""
    return gzip.compress(mutations.text(gzip.decompress(content), dice), 1)


_MUTATIONS: dict[str, Mutate] = {
    ".json": mutations.json_text,
    ".jsonl": mutations.json_lines,
    ".safetensors": mutations.safetensors,
    ".gz": _unzipped,
    **dict.fromkeys((".toml", ".dict", ".en", ".de", ".cls"), mutations.text),
}


def by_suffix(name: str) -> Mutate:
    """How files of that name change."""
    return _MUTATIONS.get(Path(name).suffix, mutations.damaged)


def _read_report(folder: Path) -> None:
    summary = reporting.report(folder / "run")
    as_text([summary])
    as_text([summary, summary])


@cache
def _model() -> Model:
    with tempfile.TemporaryDirectory() as folder:
        write(_run(), Path(folder))
        return load_model(Path(folder, "run"))


def _fires() -> list[Case]:
    made: list[Case] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(_run(), folder)
        for how in (("--lossless",), ("--bits", "4", "--density", "0.4", "--coder", "huffman")):
            asked = ("compress", "run", "m.fire", *how)
            os.waitpid(command(asked, folder, folder / "out"), 0)
            made.append({"m.fire": (folder / "m.fire").read_bytes()})
    return made


def _pth() -> list[Case]:
    model = _model()
    cases: list[Case] = []
    for state in (model.state, {"state_dict": model.state}):
        page = io.BytesIO()
        torch.save(state, page)
        cases.append({"m.pth": page.getvalue()})
    return cases


def _image(seed: int, kind: str = "PNG", side: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    page = io.BytesIO()
    Image.fromarray(pixels).save(page, kind)
    return page.getvalue()


KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")


def _images(folder: str = "") -> dict[str, bytes]:
    return {
        f"{folder}{'ab'[k % 2]}/{k}.{KINDS[k % 6].lower()}": _image(k, KINDS[k % 6])
        for k in range(12)
    }


def _npz() -> list[Case]:
    dice = np.random.default_rng(0)
    page = io.BytesIO()
    shapes = {"train_x": (12, 8, 8), "test_x": (4, 8, 8)}
    arrays: dict[str, Any] = {k: dice.integers(0, 256, v, np.uint8) for k, v in shapes.items()}
    arrays |= {"train_y": np.arange(12) % 3, "test_y": np.arange(4) % 3}
    np.savez(page, **arrays)
    return [{"d.npz": page.getvalue()}]


def _parquet() -> list[Case]:
    images = [{"bytes": _image(k), "path": f"{k}.png"} for k in range(12)]
    table = pa.table({"image": images, "label": [k % 3 for k in range(12)]})
    cases: list[Case] = []
    for compression in ("none", "snappy"):
        page = io.BytesIO()
        pq.write_table(table, page, compression=compression, row_group_size=5)
        cases.append({"train.parquet": page.getvalue()})
    return cases


def _arrow() -> list[Case]:
    images = [{"bytes": _image(k), "path": f"{k}.png"} for k in range(12)]
    table = pa.table({"image": images, "label": [k % 3 for k in range(12)]})
    page = pa.BufferOutputStream()
    with pa.ipc.new_stream(page, table.schema) as stream:
        stream.write_table(table, max_chunksize=5)
    features = {"label": {"names": ["ant", "bee", "cat"], "_type": "ClassLabel"}}
    return [
        {
            "x.arrow": page.getvalue().to_pybytes(),
            "state.json": json.dumps({"_data_files": [{"filename": "x.arrow"}]}).encode(),
            "dataset_info.json": json.dumps({"features": features}).encode(),
        }
    ]


def _csv() -> list[Case]:
    images = _images()
    rows = [f"{name},{name[0]},{('train', 'val')[k % 4 == 3]}" for k, name in enumerate(images)]
    whole = "\n".join(["path,label,split", *rows])
    return [{**images, "d.csv": table.encode()} for table in (whole, whole.replace(",", ";"))]


def _tar(files: Mapping[str, bytes]) -> bytes:
    page = io.BytesIO()
    with tarfile.open(fileobj=page, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return page.getvalue()


def _members(content: bytes, dice: Random) -> bytes:
    """A tar with one file damaged and its headers right, or damaged as a whole."""
    if dice.random() < 0.5:
        return mutations.damaged(content, dice)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {
            member.name: held.read()
            for member in archive.getmembers()
            if (held := archive.extractfile(member))
        }
    name = dice.choice(sorted(files))
    if dice.random() < 0.3:
        files[dice.choice(("../x.png", "a", "/a/b.cls", "x\n.png"))] = files.pop(name)
    else:
        files[name] = by_suffix(name)(files[name], dice)
    return _tar(files)


def _shards() -> list[Case]:
    labels = (
        {"cls": b"%d" % (k % 3)} if k % 2 else {"json": b'{"label": %d}' % (k % 3)}
        for k in range(12)
    )
    files = {}
    for k, label in enumerate(labels):
        files |= {f"{k:04}.png": _image(k)} | {f"{k:04}.{key}": text for key, text in label.items()}
    return [{"train-0000.tar": _tar(files)}]


def reading(name: str, path: str) -> Callable[[Path], object]:
    """Data of that name, with each image decoded."""

    def read(folder: Path) -> None:
        splits = data.load(
            name,
            folder / path,
            classes=None,
            size=16,
            channels=3,
            test_fraction=0.25,
            seed=0,
        )
        loader = data.Loader(
            splits, batch_size=6, seed=0, rank=0, world_size=1, augmentation=data.Augmentation()
        )
        for batch in loader.training_batches(0):
            batch.x.sum()

    return read


def _dictionary() -> list[Case]:
    letters = "abcdefgh"
    words = [f"{a}{b}{c}" for a in letters for b in letters for c in "xyz"]
    lines = [
        f"{word}  {' '.join(f'{letter.upper()}{k}' for k, letter in enumerate(word))}"
        for word in words
    ]
    whole = ";;; comment\n" + "\n".join(lines) + "\nabx(2)  AH0 B X # other\n"
    return [{"d.dict": whole.encode()}, {"d.dict.gz": gzip.compress(whole.encode())}]


def _read_dictionary(folder: Path) -> None:
    load_phonemes(next(folder.iterdir()), "test", 0.2, None)


def _parallel() -> list[Case]:
    words = ("the", "red", "house", "is", "small", "Häuser", "東京")
    lines = [" ".join(Random(k).choices(words, k=6)) for k in range(40)]
    files = {
        f"{part}.{language}": "\n".join(some).encode()
        for part, some in (("train", lines[:32]), ("test", lines[32:]))
        for language in ("en", "de")
    }
    return [files, {f"{name}.gz": gzip.compress(content) for name, content in files.items()}]


def _environments() -> list[Case]:
    told = (
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"},
        {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "gpu[3-5,9],b7"},
        {
            "OMPI_COMM_WORLD_RANK": "0",
            "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        },
    )
    texts = ("\n".join(f"{name} {value}" for name, value in each.items()) for each in told)
    return [{"environment.txt": each.encode()} for each in texts]


def _read_environment(folder: Path) -> None:
    lines = (folder / "environment.txt").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    launch.find_rank_info(
        {name: value for name, _, value in (line.partition(" ") for line in lines)}
    )


def _probes() -> list[Case]:
    network = parse_network("2 x 1gbit + 1 x 50mbit:200mbit, 80us")
    found = Probe(network, {"host 0 up": (0.9e6, 1.1e6)}, (3,), 1.5, 1000, ("host 3 is slow",))
    return [{"p.json": found.to_json().encode()}]


def _image_cases() -> list[Case]:
    return [{f"one.{kind.lower()}": _image(3, kind, 24)} for kind in KINDS]


def _read_image(folder: Path) -> None:
    for image in find_images([folder]):
        try:
            image.read()
        except data.DamagedImageError:
            continue


def _deep_compression() -> list[Case]:
    path = Path(os.environ.get("FUZZ_NET", ""))
    return [{"m.net": path.read_bytes()}] if path.is_file() else []


def _open(name: str) -> Callable[[Path], object]:
    return lambda folder: load_model(folder / name)


text, json_text, damaged = mutations.text, mutations.json_text, mutations.damaged
names = "\n".join(f"n0144076{k} name {k}, other" for k in range(9)).encode()

FORMATS: dict[str, Format] = {
    "network, one line": Format(
        single("n.txt", *(line.encode() for line in NETWORKS)),
        text,
        lambda folder: Network.load(
            (folder / "n.txt").read_bytes().decode("utf-8", "surrogateescape")
        ),
    ),
    "network, JSON": Format(
        lambda: [{"n.json": to_json(parse_network(line)).encode()} for line in NETWORKS],
        json_text,
        _read_network,
        ("plan", "--model", "squeezenet_small", "--compute", "80ms", "--network", "n.json"),
    ),
    "schedule": Format(
        _schedules,
        json_text,
        lambda folder: prove(Schedule.from_json((folder / "s.json").read_text("utf-8", "replace"))),
    ),
    "recipe": Format(
        _recipes,
        text,
        lambda folder: check_recipe(load_recipe(str(folder / "r.toml"))),
        ("train", "r.toml", "--find-lr", "--optim.lr", "0"),
    ),
    "plan": Format(
        _plans, json_text, _read_plan, ("train", "digits", "--optim.lr", "0", "--plan", "p.json")
    ),
    "probe": Format(
        _probes,
        json_text,
        lambda folder: Probe.from_json((folder / "p.json").read_text("utf-8", "replace")),
    ),
    "run's trace and metrics": Format(
        lambda: [_run(), _run(workers=2)],
        mutations.json_lines,
        _read_report,
        ("report", "run"),
        changed=".jsonl",
    ),
    "confusion of a run's classes": Format(
        lambda: [_run()], json_text, _read_report, ("report", "run"), changed="confusion.json"
    ),
    "run's folder, sums made anew": Format(
        lambda: [_run()],
        None,
        _read_run,
        ("train", "digits", "--resume", "--run-dir", "run", "--optim.steps", "3"),
        mend=_right_sums,
    ),
    "launcher's environment": Format(_environments, text, _read_environment),
    ".fire, sums made anew": Format(_fires, mutations.fire, _open("m.fire"), ("inspect", "m.fire")),
    ".safetensors": Format(
        lambda: [{"m.safetensors": as_safetensors(_model())}],
        mutations.safetensors,
        _open("m.safetensors"),
        ("compress", "m.safetensors", "m.fire", "--lossless"),
    ),
    ".pth": Format(_pth, mutations.zipped, _open("m.pth")),
    ".onnx": Format(lambda: [{"m.onnx": onnx_export.as_onnx(_model())}], damaged, _open("m.onnx")),
    ".net": Format(_deep_compression, damaged, _open("m.net")),
    "class names": Format(
        single("names.txt", names),
        text,
        lambda folder: read_classes(folder / "names.txt"),
    ),
    "images": Format(_image_cases, damaged, _read_image),
    "npz": Format(_npz, mutations.zipped, reading("npz", "d.npz")),
    "parquet": Format(_parquet, damaged, reading("parquet", "train.parquet")),
    "arrow": Format(_arrow, None, reading("arrow", ".")),
    "csv": Format(_csv, text, reading("csv", "d.csv"), changed="d.csv"),
    "folder": Format(lambda: [_images("d/")], None, reading("folder", "d")),
    "tar": Format(lambda: [{"d.tar": _tar(_images())}], _members, reading("tar", "d.tar")),
    "webdataset": Format(_shards, _members, reading("webdataset", ".")),
    "dictionary": Format(_dictionary, None, _read_dictionary),
    "parallel texts": Format(
        _parallel,
        None,
        lambda folder: load_translations(folder, ("en", "de"), "test", 60, None),
    ),
}


def mutated(form: Format, cases: list[Case], dice: Random) -> Case:
    """One of the cases with one of its files changed, or replaced."""
    case = dict(dice.choice(cases))
    names = sorted(name for name in case if form.changed in name)
    name = dice.choice(names)
    if dice.random() < 0.03:
        case[name] = dice.choice((b"", b"\0" * 4096, b"[" * 100_000, b"{}", case[names[0]]))
        return form.mend(case)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        try:
            case[name] = (form.mutate or by_suffix(name))(case[name], dice)
        except Exception:  # it is already so damaged that it has no parts
            case[name] = damaged(case[name], dice)
    return form.mend(case)
