"""From when on something counts, and why from there: all of a report's limits in one place."""

from __future__ import annotations

SPECIFIC_SHARE = 0.10
"""A fault of one host, rank or link is told where it costs this part of a step. Below, the ranks' ordinary
jitter makes one or another stand out, and repairing it would hardly be noticed."""

GENERAL_SHARE = 1 / 3
"""What holds all ranks alike is told from this part of a step on: three machines then do the work of two.
Below, some waiting is usual, and the work itself is the limit."""

STARVED_SHARE = 0.6
"""All ranks are starved where they lack a CPU for this part of the time in which they want one: two workers a
core, as in many tests on one machine, lack it for half. They are, too, where it costs `GENERAL_SHARE`."""

AVOIDABLE_SHARE = 0.2
"""Reading data, evaluation, saving, a script's own work and others on its CPUs are told from here on, on all
ranks alike too: no machine is needed to avoid them."""

FAULT_FIRST = 3.0
"""A fault of one host, rank or link is told before what holds all alike, unless that costs so many times as
much: a fault is mended, where a network is bought."""

PAUSE_SHARE = 0.03
"""Standing still is never a part of training, so less of it counts."""

OUTLIER = 1.5
"""A rank, host or link is apart from the others where it is this many times slower. Clock speeds of one
model of machine, and rates of equal links, differ by less."""

NOTICED = 0.25
"""Of what the worst has beyond the usual: who has less of it beyond that is not noticed beside it."""

CHANGE = 1.33
"""Two stretches are told apart where a typical step differs by this factor: on shared machines one minute
differs from the next by less."""

SHORTEST_STRETCH = 8
"""Steps of a stretch at least: fewer slow steps pass, as when others use the machine; the p95 shows them."""

LONG_STRETCH = 10
"""A verdict is of the last stretch with so many steps, or of the longest where none has."""

START_STEPS = 2
"""Steps at the beginning that may be a start of their own: DDP arranges its buckets anew after the first,
and memory, caches and compiled code are made then."""

START_FACTOR = 1.3
"""They are, where they take this many times a typical step."""

GAP_S, GAP_STEPS = 1.0, 4.0
"""What lies between steps, or lengthens one, is told where it takes so long, and as long as so many typical
steps: a person notices it then."""

BLAMED_SHARE = 0.6
"""A pause is a rank's if what it lost is this part of what all lost; the rest may be late recovery."""

IDLE_SHARE = 0.3
"""A rank stood still, and did not work, where it used less CPU than this part of the time it lost."""

BUSY_SHARE = 0.5
"""A link that was busy for less of the time in which ranks summed is not what they waited for."""

LEAST_LINK_BYTES, LEAST_LINK_S = 1 << 16, 2e-3
"""A rate follows from so many bytes over so much time: less goes out in one burst into buffers."""

HEAVY_SHARE = 0.5
"""A layer is heavy with this part of all bytes: more than all others together."""

LEAST_LAYERS = 4
"""Among fewer layers one always has most."""

UNLIKE = 3.0
"""A layer's time is remarkable at this many times the next layer's; neighbours of one kind differ by less."""

WORTH_TELLING = 1.03
"""Gains below are less than predictions are sure of."""

HANG_S = 10.0
"""A wait is called a hang from here on, if it is longer than `GAP_STEPS` typical steps too."""

PREDICTION_ERROR = 1.3
"""Changes of the network are priced only where its price as it is comes so near to what was measured."""

MOST_PRICED_HOSTS = 32
"""Hosts up to which changes are priced: a report is to take a second."""

OWN_QUEUE_BYTES, OWN_QUEUE_S = 1 << 16, 2e-3
"""A sender's own port is given so many bytes ahead, and what it sends in so long: two packets of 32 kB, as
segmentation offload makes them, or TCP small queues' millisecond."""

LOST_SHARE = 1e-3
"""A way loses packets from here on; single ones may be sent again for other reasons."""

LARGE_SHARE = 0.2
"""A flow counts beside another from this part of its bytes on; in a ring all have as many."""

TOLD_SHARE = 0.05
"""Of the largest flow's bytes: smaller flows only steer the others, and say nothing of the link's rate."""

SHORT_QUEUE, LONG_QUEUE = 0.1, 0.5
"""Of a slow way's queue: a packet that waits for less did not pass it, and one that waits for more did."""

UNKNOWN_SAVING = 0.5
"""The part of the sums' time that a fault costs, where nothing tells what the link would carry without it."""

SURE_LINK_S = 0.02
"""A single reading is sure from here on: the kernel counts busy time in ticks of 1 to 10 ms."""

SWING = 0.5
"""The mean deviation of waits in a queue that empties and fills again, as a part of their mean. Before a port
of its own a kernel keeps the queue as it is."""

LEAST_EVALUATIONS = 3
"""Of learning nothing is told from fewer: two points make no curve."""

LOSS_JUMP = 0.2
"""The training loss of an epoch rises by this part of the first epoch's only where steps are too long. Means over
an epoch differ by less by chance, and by much less where the loss has fallen."""

OVER_FITTED, SINCE = 1.15, 1.05
"""The test loss has risen where it is this many times its least, in all of the last `RISEN_EVALUATIONS`; so since it
last came near the least. Evaluations that differ by 5 % either way by chance, as those of a few hundred images do,
never rise so far."""

RISEN_EVALUATIONS = 3
"""One high evaluation is chance, and so may be two."""

ABOVE_NOISE = 3.0
"""A rise counts, too, only if it is so many times what the test loss typically strays from its neighbours' line:
some five standard deviations of one evaluation."""

STILL_FALLING, LAST_PART = 0.10, 4
"""A run would learn more where its test loss fell by this part from the last but one to the last of so many equal
parts of the run. Chance of 5 % either way makes less of it."""

LEARNED_ALL = 0.99
"""From this accuracy on more epochs are not worth telling."""

BY_CHANCE = 3.0
"""Standard deviations: an accuracy within so many of what guessing brings is that of guessing."""

ABOVE_GUESSING = 1.02
"""A network that has come to guess, with a loss within this of guessing's, after one above it: long steps have spoiled
its weights. Where a rate is too low, or labels are wrong, the loss stays where it began."""

BELOW_GUESSING = 0.95
"""A network whose training loss is below this part of guessing's has learned something, if only by heart. Few test
images may not show it."""
