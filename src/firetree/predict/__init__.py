"""`firetree predict`: which classes pictures belong to."""

from firetree.predict.answer import as_json, as_text, scores
from firetree.predict.options import PredictOptions, answers_of

__all__ = ["PredictOptions", "answers_of", "as_json", "as_text", "scores"]
