"""The image of fast weights in `docs/fast-weights.md`: what a trained net holds and looks at.

Trains associative retrieval with 50 units for 6 epochs, a few minutes on one core, into
`runs/fast-weights-memory`, which a repeated command only completes; then draws the sequence that is
given into `docs/figures/fast-weights-memory.png`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from page import save_figure

from firetree.memory import Reading, readings
from firetree.training import load_recipe, with_fields
from firetree.training.apart import log_of, train_apart

HERE = Path(__file__).parent
FIGURE = HERE.parent / "docs" / "figures" / "fast-weights-memory.png"
RUN = HERE.parent / "runs" / "fast-weights-memory"
EPOCHS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", default="c9k8j3f1??c")
    options = parser.parse_args()
    recipe = with_fields(load_recipe("associative-retrieval"), {"optim.epochs": EPOCHS})
    if train_apart(recipe, RUN):
        raise SystemExit(f"the training failed; see {log_of(RUN)}")
    (reading,) = readings(RUN, [options.input])
    save_figure(drawn(reading), FIGURE)
    print(f"{FIGURE}: the net answers {reading.answer}")


def drawn(reading: Reading) -> Figure:
    """A(t) after each step, and below it how strongly each step looks at earlier ones."""
    A_THH, (weights_TT,) = reading.matrices["A"], reading.attention.values()
    steps = len(reading.symbols)
    figure = Figure(figsize=(1.1 * steps, 4.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2))
    for step, axes in enumerate(above.subplots(1, steps)):
        axes.imshow(A_THH[step], cmap="Blues", vmin=0, vmax=float(A_THH.max()))
        axes.set(xticks=[], yticks=[], title=reading.symbols[step])
    above.suptitle(f"A(t) after each symbol; the net then answers {reading.answer}")
    axes = below.subplots()
    shown = axes.imshow(weights_TT, cmap="Blues", vmin=0, aspect="auto")
    axes.set(xlabel="earlier state that is looked at", ylabel="symbol just read")
    axes.set_xticks(range(steps), reading.symbols)
    axes.set_yticks(range(steps), reading.symbols)
    below.colorbar(shown, label="attention")
    return figure


if __name__ == "__main__":
    main()
