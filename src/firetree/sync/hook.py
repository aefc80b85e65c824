"""DDP's communication hook: hands buckets to a synchroniser, and raises its failures in the script.

DDP reads the hook's annotations as objects, so this file evaluates them (no `annotations` import).
"""

import weakref

from torch import Tensor
from torch.distributed import GradBucket
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from firetree.observing import BucketMarks
from firetree.sync.synchroniser import Synchroniser
from firetree.torch_private import (
    after_backward,
    averages_who_is_left,
    in_backward,
    register_own_hook,
    skip_unused_parameters,
)


def trains(model: DistributedDataParallel) -> bool | None:
    """Whether this rank has samples left; None unless a `Join` averages over the ranks that have."""
    return in_backward() if averages_who_is_left(model) else None


class Hook:
    """The hook of one model; `register` gives it to DDP. `marks` hear of each bucket, if there are any."""

    marks: BucketMarks | None = None

    def __init__(self, model: DistributedDataParallel, synchroniser: Synchroniser):
        self._model = weakref.ref(model)  # which holds the hook
        self._synchroniser = synchroniser

    def register(self) -> None:
        """Give it to DDP. A copy of the model has no hook and sums as DDP does, also after pickling."""
        model = self._model()
        assert model is not None
        register_own_hook(model, self.firetree)

    def firetree(self, state: object, bucket: GradBucket) -> Future[Tensor]:
        """Take a bucket of gradients and promise their mean. DDP logs this function's name."""
        summed = self.marks.hand_over(bucket) if self.marks else None
        if self._synchroniser.given is not None:
            return self._synchroniser.record.measure(self._synchroniser.given, bucket, summed)
        model = self._model()
        mean = self._synchroniser.take(bucket, None if model is None else trains(model))
        if summed:
            mean.add_done_callback(summed)
        if bucket.is_last():
            self._after_this_pass(mean)
        return mean

    def _after_this_pass(self, last: Future[Tensor]) -> None:
        # An error in the future would reach the script as a RuntimeError from C++, without its type;
        # autograd keeps the type of what its callbacks raise. They run in the order in which they were
        # queued: `before`, DDP's own end of the pass, `_end_where_failed`. So DDP is ready for another
        # pass, which fails in the same way.
        def before() -> None:
            last.wait()
            if self._synchroniser.error is not None and not self._end_of_ddp_would_wait():
                after_backward(self._end_where_failed)
            else:
                self._end_where_failed()

        if in_backward():
            after_backward(before)
        else:
            last.wait()
            self._end_where_failed()

    def _end_of_ddp_would_wait(self) -> bool:
        """Whether DDP would ask all ranks which parameters they used, and wait for the lost rank."""
        model = self._model()
        if model is None or not model.find_unused_parameters or model.static_graph:
            return False
        skip_unused_parameters(model)
        return True

    def _end_where_failed(self) -> None:
        """After a failure, drop all gradients and raise it, so that no optimiser uses them."""
        if self._synchroniser.error is not None and (model := self._model()) is not None:
            for parameter in model.parameters():
                parameter.grad = None
        self._synchroniser.raise_failure()
