"""A plan as data: what it says of a bucket and a cluster, read back as written, refused where it cannot be."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from firetree.errors import UserError
from firetree.planning.candidates import FOREST, GLOO, Choice
from firetree.planning.forest import Forest
from firetree.planning.grove import Grove
from firetree.planning.plan import BUCKETS_BYTES, Candidate, Plan, load_plan
from firetree.planning.tree import Tree

TREE = Tree((1, 1, 0), (2, 1, 1), chunks=4)
TREES = Forest(((2, 0), (1,)), (0, 8, 3), gates=2, chunks=4, stars=True)
GROVE = Grove((TREE, Tree((2, 2, 2), (2, 0, 2), chunks=4)), 16)
MADE = Plan(
    "a model",
    3,
    3_000,
    2_000,
    (
        (1_000, Choice("kary_tree:2", 4, (2, 0, 1))),
        (2_000, Choice(FOREST, 4, forest=TREES)),
        (9_000, Choice(GLOO, 6)),
    ),
    0.5,
    0.75,
    "host 1 up",
    (Candidate("ring", BUCKETS_BYTES[0], 0.8),),
)


@pytest.mark.parametrize(
    "choice", [MADE.choices[1][1], Choice(FOREST, 4, tree=TREE), Choice(FOREST, 8, grove=GROVE)]
)
def test_json_gives_back_the_same_plan(choice: Choice) -> None:
    made = replace(MADE, choices=((2_000, choice), *MADE.choices[2:]))
    assert Plan.from_json(made.to_json()) == made


def test_a_file_of_version_1_is_read() -> None:
    kept = load_plan(Path(__file__).parents[1] / "golden" / "plan-v1.json")
    assert kept == replace(MADE, candidates=(*MADE.candidates, Candidate(GLOO, 1 << 20, 0.9)))


def test_a_plan_is_one_line() -> None:
    assert repr(MADE) == (
        "Plan(a model on 3 hosts: 750 ms a step, buckets of 2 kB, the largest by gloo)"
    )


@pytest.mark.parametrize(
    ("size_bytes", "algorithm"),
    [
        (1, "kary_tree:2"),
        (1_000, "kary_tree:2"),
        (1_499, "kary_tree:2"),
        (1_501, FOREST),
        (5_000, FOREST),
        (6_000, GLOO),
        (1 << 40, GLOO),
    ],
)
def test_a_bucket_gets_the_choice_of_the_nearest_size(size_bytes: int, algorithm: str) -> None:
    assert MADE.choice_for(size_bytes).algorithm == algorithm


@pytest.mark.parametrize(
    ("world_size", "gradient_bytes", "message"),
    [
        (
            4,
            3_000,
            "a plan for 3 ranks on 4; start the hosts that firetree plan made it for, or make one",
        ),
        (3, 2_996, "with 3,000 bytes of gradients; this model has 2,996; make one for it"),
    ],
)
def test_a_plan_for_another_cluster_or_model_is_refused(
    world_size: int, gradient_bytes: int, message: str
) -> None:
    MADE.check(3, 3_000)
    with pytest.raises(UserError) as refusal:
        MADE.check(world_size, gradient_bytes)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def plan_file(**changes: object) -> str:
    """The JSON of a plan with some fields changed; None takes one away."""
    document = {**json.loads(MADE.to_json()), **changes}
    return json.dumps({field: value for field, value in document.items() if value is not None})


def choice_file(**changes: object) -> str:
    choice: dict[str, Any] = {**asdict(Choice("ring", 3)), "order": [0, 1, 2], **changes}
    return plan_file(choices=[[1_000, choice]])


def tree_file(**changes: object) -> str:
    choice = {**asdict(Choice(FOREST, 4)), "tree": {**asdict(TREE), **changes}}
    return plan_file(choices=[[1_000, choice]])


def grove_file(**changes: object) -> str:
    choice = {**asdict(Choice(FOREST, 8)), "grove": {**asdict(GROVE), **changes}}
    return plan_file(choices=[[1_000, choice]])


def trees_file(choice_chunks: int = 4, **changes: object) -> str:
    trees = {**asdict(TREES), **changes}
    choice = {**asdict(Choice(FOREST, choice_chunks)), "forest": trees}
    return plan_file(choices=[[1_000, choice]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "is not JSON: Expecting value: line 1 column 1"),
        ("[" * 100_000, "is not JSON: its values are nested too deeply"),
        ("[]", "[]; expected a table"),
        ("7", "7; expected a table"),
        ("{}", "is of version None; expected 4"),
        (plan_file(version=5), "is of version 5; expected 4"),
        (plan_file(choices=None), "lacks the field 'choices'"),
        (plan_file(candidates=None), "lacks the field 'candidates'"),
        (plan_file(world_size=None), "lacks the field 'world_size'"),
        (plan_file(step_s=None), "lacks the field 'step_s'"),
        (plan_file(world_size=1025), "1025 ranks; expected at most 1024"),
        (plan_file(world_size=0), "world_size = 0; expected 1 or more"),
        (plan_file(world_size="3"), "world_size = '3'; expected int"),
        (plan_file(gradient_bytes="3000"), "gradient_bytes = '3000'; expected int"),
        (plan_file(gradient_bytes=10**400), "expected int of at most 64 bits"),
        (plan_file(bucket_bytes=math.inf), "bucket_bytes = inf; expected int"),
        (plan_file(step_s=math.nan), "step_s = nan; expected seconds"),
        (plan_file(compute_s="1"), "compute_s = '1'; expected float"),
        (plan_file(model="a\nb"), r"model = 'a\nb'; expected printable text"),
        (plan_file(bucket_bytes=0), "bucket_bytes = 0; expected 1 or more"),
        (choice_file(chunks=10**9), "1000000000 chunks of 1,000 bytes; expected at most 1024"),
        (choice_file(algorithm="hierarchical:3", chunks=65_536), "65536 chunks of 1,000 bytes; expected at most 1024"),
        (plan_file(world_size=1024, choices=[[1 << 36, asdict(Choice(GLOO, 65_536))]]), "134217728 transfers; expected at most 16777216"),
        (plan_file(choices=[[1, asdict(Choice(GLOO, 1_000))]] * 3_000), "18000000 transfers"),
        (trees_file(chunks=10**9), "a forest of 1000000000 chunks in another choice"),
        (trees_file(chunks=0), "a forest of 0 chunks in another choice"),
        (trees_file(choice_chunks=-1, chunks=-1), "a choice of -1 chunks"),
        (trees_file(racks=[[0, 1]]), "racks ((0, 1),), not each of 3 hosts once"),
        (trees_file(racks=[[0, 1, 2], []]), "not each of 3 hosts once"),
        (trees_file(racks=[[0, 1, 1]]), "not each of 3 hosts once"),
        (trees_file(racks=[[0, 1, 2, 3, 4]], leaf_parts=[0] * 5), "not each of 3 hosts once"),
        (trees_file(leaf_parts=[0, 0]), "leaf parts of 2 hosts, not 3"),
        (trees_file(leaf_parts=[0, 0, 9]), "leaf parts (0, 0, 9), not 0 to 8"),
        (trees_file(gates=0), "0 gates, not 1 or more"),
        (trees_file(gates=1.0), "choices[0][1].forest.gates = 1.0; expected int"),
        (trees_file(stars="false"), "choices[0][1].forest.stars = 'false'; expected bool"),
        (tree_file(chunks=5), "a forest of 5 chunks in another choice"),
        (tree_file(sums_to=[1, 1]), "(1, 1), not a host for each of 3"),
        (tree_file(sums_to=[1, 1, 3]), "(1, 1, 3), not a host for each of 3"),
        (tree_file(sums_to=[1, 1, 2]), "(1, 1, 2), not a tree of all hosts"),
        (tree_file(copies_from=[2, 1, 0]), "(2, 1, 0), not a tree of all hosts"),
        (tree_file(copies_from=[0, 0, 0]), "sums end on host 1, copies begin on another"),
        (grove_file(lag=0), "a lag of 0 steps, not 1 to 65536"),
        (grove_file(trees=[]), "a forest of 0 chunks in another choice"),
        (grove_file(trees=[asdict(TREE), {**asdict(TREE), "sums_to": [1, 1]}]), "(1, 1), not a host for each of 3"),
        (choice_file(tree=asdict(TREE), forest=asdict(TREES)), "two of a forest, a tree and a grove in one choice"),
        (plan_file(colour="red"), "has no field 'colour'; expected one of"),
        (plan_file(choices=[[1]]), "choices[0] = [1]; expected a list of 2"),
        (plan_file(candidates=[{}]), "lacks the field 'candidates[0].algorithm'"),
        (plan_file(choices=[[10**400, asdict(MADE.choices[0][1])]]).replace(str(10**400), "1e999"), "choices[0][0] = inf; expected int"),
        (choice_file(algorithm="rnig"), "no algorithm 'rnig'; did you mean 'ring'?"),
        (choice_file(algorithm="r\ng"), r"no algorithm 'r\ng'"),
        (choice_file(chunks=0), "a choice of 0 chunks"),
        (choice_file(order=[0, 1, 1]), "order (0, 1, 1), not each of 3 ranks once"),
        (choice_file(order=[0, 1]), "order (0, 1), not each of 3 ranks once"),
        (choice_file(forest={}), "lacks the field 'choices[0][1].forest.racks'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plan_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        load_plan(path)
    assert str(refusal.value).startswith(f"plan {path}")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"\x89PNG\xff", "is not in UTF-8")],
    ids=["missing", "binary"],
)
def test_a_file_that_cannot_be_read_is_refused_by_its_name(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"plan .*plan\.json {message}"):
        load_plan(path)
