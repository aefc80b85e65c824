"""How soon Catch is learned by fast weights and by an LSTM (Ba et al. 2016, figure 5).

All nets have the same units, and the rate among the same three with which a seed of its own learns
soonest. A curve that is done is a part of `catch.csv`, and one that was cut off goes on where it was, so
that the table in `reproduce/RESULTS.md` and the image `docs/figures/catch.svg` can grow over several
sittings:

    python reproduce/catch.py --sizes 16 --models fast_weights,lstm
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

from curves import band, by_name
from matplotlib.figure import Figure
from page import save_figure, tell, write_table

from firetree.durable import read_json_lines
from firetree.training import load_recipe, with_fields
from firetree.training.apart import log_of, train_apart
from points import add, part, read

HERE = Path(__file__).parent
POINTS = HERE / "catch.csv"
PICTURE = HERE.parent / "docs" / "figures" / "catch.svg"
RUNS = HERE.parent / "runs" / "catch"

BLANK_AFTER = {16: 3, 24: 5}
"""The paper's screens, and the frames after which they are blank."""
EPOCHS = {16: 24, 24: 40}
HIDDEN = 64
GAMES = 5_000
"""Of an epoch, after which all starts are played."""
RATES = (0.001, 0.002, 0.004)
SEARCH_SIZE, SEARCH_SEED = 16, 100
SEEDS = range(5)
LEARNED = 0.9

_FAST_WEIGHTS = {"model.name": "fast_weights", "model.normalise_first": True}
MODELS: dict[str, dict[str, object]] = {
    "lstm": {"model.name": "lstm"},
    "fast_weights": _FAST_WEIGHTS | {"model.decay": 0.5},
    "without": _FAST_WEIGHTS | {"model.rate": 0.0},
}
"""`without` is the net with fast weights, but with none."""
COLOURS = {"lstm": "#4c78a8", "fast_weights": "#f58518", "without": "#54a24b"}


@dataclass(frozen=True)
class Curve:
    """One run of the trainer."""

    model: str
    size: int
    rate: float
    seed: int


@dataclass(frozen=True)
class Point(Curve):
    """The mean reward of all starts, played by the likeliest moves, after so many frames of training."""

    frames: int
    reward: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--sizes", default=",".join(map(str, BLANK_AFTER)))
    options = parser.parse_args()
    for size in map(int, options.sizes.split(",")):
        for seed in SEEDS:
            for model in options.models.split(","):
                points(Curve(model, size, best_rate(model), seed))
    found = curves_by_model()
    draw(found)
    text = (
        f"All nets have {HIDDEN} units, and the rate among {', '.join(map(str, RATES))} with which a "
        f"seed of its own learned soonest on the {SEARCH_SIZE}×{SEARCH_SIZE} screen, falling to 0 by a "
        "cosine; fast weights have λ = 0.5, η = 0.5 and h₀ normalised, and `without` is the same net "
        f"with η = 0. Frames of training until the likeliest moves earn {LEARNED} in the mean over all "
        "starts (1 is each ball caught), and the reward at the end: the median of the seeds, the least "
        "and the most. [Curves](../docs/figures/catch.svg)."
    )
    headings = [
        "screen",
        "blank after",
        "model",
        "rate",
        "seeds",
        f"frames until {LEARNED}",
        "reward",
    ]
    write_table("Catch", "python reproduce/catch.py", text, [headings, *rows(found)])


def best_rate(model: str) -> float:
    """The rate whose curve is highest in the mean, which is that which learns soonest."""

    def height(rate: float) -> float:
        curve = points(Curve(model, SEARCH_SIZE, rate, SEARCH_SEED))
        return mean(point.reward for point in curve)

    return max(RATES, key=height)


def points(curve: Curve) -> list[Point]:
    """From the file, or else from a run."""
    known = [point for point in read(POINTS, Point) if part(point, Curve) == curve]
    return known or run(curve)


def run(curve: Curve) -> list[Point]:
    tell(str(curve))
    values = MODELS[curve.model] | {
        "model.hidden": HIDDEN,
        "data.size": curve.size,
        "data.blank_after": BLANK_AFTER[curve.size],
        "data.examples": GAMES,
        "optim.lr": curve.rate,
        "optim.epochs": EPOCHS[curve.size],
        "seed": curve.seed,
    }
    folder = RUNS / "-".join(map(str, asdict(curve).values()))
    recipe = with_fields(load_recipe("catch"), values)
    if train_apart(recipe, folder, environ={"OMP_NUM_THREADS": "1"}):
        raise SystemExit(f"{curve} failed; its last words are in {log_of(folder)}")
    found = [
        Point(
            **asdict(curve),
            frames=line["epoch"] * GAMES * curve.size,
            reward=round(2 * line["accuracy"] - 1, 4),
        )
        for line in read_json_lines(folder / "metrics.jsonl")
    ]
    add(POINTS, found)
    shutil.rmtree(folder)
    return found


Found = dict[tuple[int, str], list[list[Point]]]
"""For each size and model the curves that are done, one a seed."""


def curves_by_model() -> Found:
    mine = [point for point in read(POINTS, Point) if point.seed in SEEDS]
    found = by_name(mine, lambda point: (point.size, point.model))
    return {name: found[name] for name in sorted(found)}


def rows(found: Found) -> Iterator[list[str]]:
    for (size, model), curves in found.items():
        yield [
            f"{size}×{size}",
            str(BLANK_AFTER[size]),
            model,
            str(curves[0][0].rate),
            str(len(curves)),
            said([frames_until_learned(curve) for curve in curves], ",.0f"),
            said([curve[-1].reward for curve in curves], ".2f"),
        ]


def frames_until_learned(curve: Sequence[Point]) -> float:
    """Infinite where it never comes to that."""
    return min((point.frames for point in curve if point.reward >= LEARNED), default=float("inf"))


def said(values: Sequence[float], form: str) -> str:
    middle, least, most = (
        "never" if value == float("inf") else format(value, form)
        for value in (median(values), min(values), max(values))
    )
    return f"{middle} ({least} to {most})"


def draw(found: Found) -> None:
    """For each size the median of the seeds against frames, in a band from the least to the most."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(BLANK_AFTER), sharey=True)
    for panel, (size, blank_after) in zip(panels, BLANK_AFTER.items(), strict=True):
        for (its_size, model), curves in found.items():
            if its_size != size:
                continue
            millions = [point.frames / 1e6 for point in curves[0]]
            rewards = [[point.reward for point in curve] for curve in curves]
            band(panel, millions, rewards, model, COLOURS[model])
        panel.set_title(f"{size}×{size}, blank after {blank_after} frames")
        panel.set_xlabel("frames of training, millions")
        panel.legend(loc="lower right")
    panels[0].set_ylabel("mean reward")
    save_figure(figure, PICTURE)


if __name__ == "__main__":
    main()
