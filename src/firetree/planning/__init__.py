"""What a schedule takes on a network, which to choose, and what more machines would bring.

Prices a model's profile on a `firetree.network`; nothing is sent anywhere.
"""

from __future__ import annotations

from firetree.planning.answer import Answer, PlanOptions, answer, as_json, as_text

__all__ = ["Answer", "PlanOptions", "answer", "as_json", "as_text"]
