"""What a worker trains on, whatever it is: examples, a network for them, a loss, and what is right."""

from __future__ import annotations

from firetree.tasks.pictures import Pictures, load_pictures
from firetree.tasks.recall import Recall, load_recall
from firetree.tasks.task import Batch, Loader, Task

__all__ = ["Batch", "Loader", "Pictures", "Recall", "Task", "load_pictures", "load_recall"]
