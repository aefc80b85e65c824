"""What a worker trains on, whatever it is: examples, a network for them, a loss, and what is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from firetree import models, own_code
from firetree.errors import UserError, nearest
from firetree.models import glimpses, language, recurrent, seq2seq
from firetree.models.families import names
from firetree.own_code import is_timm
from firetree.tasks.catch import CatchData, Catching, load_catch
from firetree.tasks.images import ImageClassification, ImageData, load_images
from firetree.tasks.losses import Loss, LossRecipe, build_loss, check_loss, takes_blends
from firetree.tasks.measures import Measure, MetricRecipe, build_measure, check_metric
from firetree.tasks.outcomes import Outcomes
from firetree.tasks.own import OwnData, OwnTask, load_own
from firetree.tasks.recall import Recall, RecallData, load_recall
from firetree.tasks.running_text import Language, LanguageData, load_language
from firetree.tasks.task import Task, TaskBatch, TaskLoader
from firetree.tasks.texts import PhonemeData, Texts, TranslationData, load_texts

__all__ = [
    "KINDS",
    "CatchData",
    "Catching",
    "DataRecipe",
    "ImageClassification",
    "ImageData",
    "Language",
    "LanguageData",
    "Loss",
    "LossRecipe",
    "Measure",
    "MetricRecipe",
    "Outcomes",
    "OwnData",
    "OwnTask",
    "PhonemeData",
    "Recall",
    "RecallData",
    "Task",
    "TaskBatch",
    "TaskKind",
    "TaskLoader",
    "Texts",
    "TranslationData",
    "build_loss",
    "build_measure",
    "check_loss",
    "check_metric",
    "kind_of",
    "load_catch",
    "load_images",
    "load_language",
    "load_own",
    "load_recall",
    "load_texts",
    "takes_blends",
]


DataRecipe = (
    ImageData | RecallData | CatchData | PhonemeData | TranslationData | LanguageData | OwnData
)
"""The data of a recipe."""


@dataclass(frozen=True, slots=True)
class TaskKind:
    """A kind of task: the names of its data and networks, and what loads it."""

    what: str
    data: tuple[str, ...]
    networks: tuple[str, ...]
    load: Callable[[Any, int], Task]
    """From the recipe's data and the seed (UserError where the data cannot be used)."""
    takes_own: bool = True
    """Whether a network of the user's own may be trained on it."""
    takes_timm: bool = False

    def takes(self, network: str) -> bool:
        """Whether a network of this name may be trained on it."""
        if is_timm(network):
            return self.takes_timm
        return self.takes_own if own_code.is_own(network) else network in self.networks


KINDS = (
    TaskKind(
        "images",
        names(ImageData),
        (*models.names(), *glimpses.names()),
        load_images,
        takes_timm=True,
    ),
    TaskKind("sequences made by seed", names(RecallData), recurrent.names(), load_recall),
    TaskKind("games", names(CatchData), recurrent.names(), load_catch, takes_own=False),
    TaskKind("texts", (*names(PhonemeData), *names(TranslationData)), seq2seq.names(), load_texts),
    TaskKind("running text", names(LanguageData), language.names(), load_language),
)


OWN = TaskKind("data of your own", (), models.names(), load_own, takes_timm=True)


def kind_of(data_name: str) -> TaskKind:
    """The kind that has data of this name.

    Raises:
        UserError: none has.
    """
    if own_code.is_own(data_name):
        return OWN
    for kind in KINDS:
        if data_name in kind.data:
            return kind
    close = nearest(data_name, [name for kind in KINDS for name in kind.data])
    raise UserError(f"data.name = '{data_name}' is unknown{close}")
