"""What a schedule does and what it costs, shown and measured."""

from __future__ import annotations
