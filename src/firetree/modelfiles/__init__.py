"""Models as data, opened from whatever format they come in."""

from firetree.modelfiles.loading import as_model, load_model, read_classes, with_classes
from firetree.modelfiles.model import Model
from firetree.modelfiles.preprocessing import CAFFE, TORCHVISION, Preprocessing
from firetree.modelfiles.safetensors_file import as_safetensors

__all__ = [
    "CAFFE",
    "TORCHVISION",
    "Model",
    "Preprocessing",
    "as_model",
    "as_safetensors",
    "load_model",
    "read_classes",
    "with_classes",
]
