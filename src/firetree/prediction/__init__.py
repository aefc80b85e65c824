"""Predictions of trained models: classes of images, and translations or phonemes of texts."""

from firetree.prediction.classification import Guess, ImagePrediction, ImageScores
from firetree.prediction.predictor import load_predictor, predict, score
from firetree.prediction.texts import TextModel, TextPrediction, TextScores

__all__ = [
    "Guess",
    "ImagePrediction",
    "ImageScores",
    "TextModel",
    "TextPrediction",
    "TextScores",
    "load_predictor",
    "predict",
    "score",
]
