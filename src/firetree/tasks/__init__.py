"""What a worker trains on, whatever it is: examples, a network for them, a loss, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from firetree import data, models
from firetree.errors import UserError, nearest
from firetree.models import glimpses, recurrent, seq2seq
from firetree.tasks import catch
from firetree.tasks.catch import Catching, load_catch
from firetree.tasks.images import ImageClassification, load_images
from firetree.tasks.recall import MADE, Recall, load_recall
from firetree.tasks.task import Task, TaskBatch, TaskLoader
from firetree.tasks.texts import NAMES, Texts, load_texts

__all__ = [
    "KINDS",
    "Catching",
    "ImageClassification",
    "Recall",
    "Task",
    "TaskBatch",
    "TaskKind",
    "TaskLoader",
    "Texts",
    "kind_of",
    "load_catch",
    "load_images",
    "load_recall",
    "load_texts",
]


@dataclass(frozen=True, slots=True)
class TaskKind:
    """A kind of task: the names of its data and networks, and what loads it from a recipe's fields."""

    what: str
    data: tuple[str, ...]
    networks: tuple[str, ...]
    load: Callable[[Mapping[str, Any], int], Task]
    """From the `data` fields and the seed (UserError where the data cannot be used)."""


KINDS = (
    TaskKind("images", data.names(), (*models.names(), *glimpses.names()), load_images),
    TaskKind("sequences made by seed", tuple(MADE), recurrent.names(), load_recall),
    TaskKind("games", (catch.NAME,), recurrent.names(), lambda fields, _: load_catch(fields)),
    TaskKind("texts", NAMES, seq2seq.names(), load_texts),
)


def kind_of(data_name: str) -> TaskKind:
    """The kind that has data of this name.

    Raises:
        UserError: none has.
    """
    for kind in KINDS:
        if data_name in kind.data:
            return kind
    close = nearest(data_name, [name for kind in KINDS for name in kind.data])
    raise UserError(f"data.name = '{data_name}' is unknown{close}")
