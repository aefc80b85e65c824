"""Write the digits that firetree carries, src/firetree/data/digits.npz, from scikit-learn's.

They are the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI
Machine Learning Repository, 1998, doi 10.24432/C50P49, under CC BY 4.0: 0 is white, 16 black.
Needs `pip install scikit-learn`:

    .venv/bin/python reproduce/digits_file.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

FILE = Path(__file__).parents[1] / "src" / "firetree" / "data" / "digits.npz"


def arrays() -> dict[str, npt.NDArray[np.uint8]]:
    """`images` (1797, 8, 8), from 0 to 16, and `labels`, from 0 to 9."""
    digits = load_digits()
    return {"images": digits.images.astype(np.uint8), "labels": digits.target.astype(np.uint8)}


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
