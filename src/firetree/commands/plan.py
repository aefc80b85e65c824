"""`firetree plan`: what more machines bring, and how to synchronise them."""

from __future__ import annotations

from firetree import output, planning
from firetree.arguments import parse
from firetree.durable import check_writable, write_durably
from firetree.models.workload import load_workload
from firetree.network import load_network


def run(arguments: list[str]) -> None:
    options = parse(planning.PlanOptions, "firetree plan", arguments)
    check_writable(options.output)
    network = load_network(options.network)
    workload = load_workload(options.model, options.batch, options.size, options.compute)
    found = planning.answer(workload, network, output.tell_start)
    if options.output:
        write_durably(options.output, found.plan.to_json().encode())
    output.show(planning.as_json(found) if options.json else planning.as_text(found))
