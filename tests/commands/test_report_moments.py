"""What a report's page draws of single steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scenes import died, write_trace

from firetree.commands.pages.report.moments import moments
from firetree.reporting import diagnose
from firetree.trace import OpenBucket, RankTrace, Trace


def test_the_open_buckets_of_two_models_keep_their_own_layers(tmp_path: Path) -> None:
    trace = died(30)[1]

    def of_two_models(rank: RankTrace) -> RankTrace:
        if rank.now is None or not rank.now.buckets:
            return rank
        ready_s = rank.now.buckets[0].ready_s
        pair = [
            OpenBucket(0, ready_s, None, (name,), k) for k, name in enumerate(("judge", "make"))
        ]
        return replace(rank, now=replace(rank.now, buckets=tuple(pair)))

    two = Trace(tuple(map(of_two_models, trace.ranks)), trace.events)
    found = diagnose(write_trace(tmp_path, two), two)
    [opened, *_] = moments(found, two, None)["steps"]
    assert opened["layers"] == {"0": ["judge"], "0 of model 1": ["make"]}
    assert [bucket[0] for bucket in opened["rows"][0]["buckets"]] == ["0", "0 of model 1"]
