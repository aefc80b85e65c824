"""`firetree predict`: which classes pictures belong to, and what texts become."""

from firetree.predict.options import PredictOptions, run

__all__ = ["PredictOptions", "run"]
