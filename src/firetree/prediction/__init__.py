"""`firetree predict`: which classes pictures belong to, and what texts become."""

from firetree.prediction.options import PredictOptions, run

__all__ = ["PredictOptions", "run"]
