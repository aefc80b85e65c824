"""What a worker trains on, whatever it is: examples, a network for them, a loss, and what is right."""

from __future__ import annotations

from firetree.tasks import catch, recall
from firetree.tasks.catch import Catching, load_catch
from firetree.tasks.pictures import Pictures, load_pictures
from firetree.tasks.recall import Recall, load_recall
from firetree.tasks.task import Batch, Loader, Task

__all__ = [
    "MADE",
    "Batch",
    "Catching",
    "Loader",
    "Pictures",
    "Recall",
    "Task",
    "load_catch",
    "load_pictures",
    "load_recall",
]

MADE = (*recall.MADE, catch.NAME)
"""The names of all data that are made by seed."""
