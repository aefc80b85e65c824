"""Predictions of trained models: classes of images, translations or phonemes of texts, and what follows a prompt."""

from firetree.prediction.classification import Guess, ImagePrediction, ImageScores
from firetree.prediction.language import Sampling, TextWriter
from firetree.prediction.predictor import load_predictor, predict, score
from firetree.prediction.texts import TextModel, TextPrediction, TextScores

__all__ = [
    "Guess",
    "ImagePrediction",
    "ImageScores",
    "Sampling",
    "TextModel",
    "TextPrediction",
    "TextScores",
    "TextWriter",
    "load_predictor",
    "predict",
    "score",
]
