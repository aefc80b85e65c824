"""Tell a table of labelled images by its path alone, for commands that take images of any kind."""

from __future__ import annotations

from pathlib import Path

from firetree.data.images import Dataset
from firetree.extras import extra

_TABLES = (".csv", ".tsv")
_SAVED = (("dataset_dict.json",), ("dataset_info.json", "state.json"))
"""Files that lie together where Hugging Face datasets saved a DatasetDict or a Dataset."""


def table_at(path: Path) -> Dataset | None:
    """The images of a CSV or of a saved data set; None where the path is neither.

    Raises:
        UserError: as `read_csv` and `read_arrow`.
    """
    if path.suffix.lower() in _TABLES and path.is_file():
        from firetree.data.csv_files import read_csv

        return read_csv(path)
    if any(all((path / name).is_file() for name in names) for names in _SAVED):
        with extra("parquet", "read Arrow files"):
            from firetree.data.arrow_files import read_arrow

        return read_arrow(path)
    return None
