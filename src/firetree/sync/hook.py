"""DDP's communication hook: hands buckets to a synchroniser, and brings its failures to the script.

DDP reads the hook's annotations as objects, so this file evaluates them (no `annotations` import).
"""

import weakref

from torch import Tensor
from torch.distributed import GradBucket
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from firetree.sync.synchroniser import Synchroniser
from firetree.torch_private import (
    after_backward,
    averages_who_is_left,
    in_backward,
    register_own_hook,
    skip_unused_parameters,
)


class Hook:
    """The hook of one model; `register` gives it to DDP."""

    def __init__(self, model: DistributedDataParallel, synchroniser: Synchroniser):
        self._model = weakref.ref(model)  # which holds the hook
        self._synchroniser = synchroniser

    def register(self) -> None:
        """Let DDP call it. A copy of the model, also one from a file, sums as DDP does."""
        model = self._model()
        assert model is not None
        register_own_hook(model, self.firetree)

    def firetree(self, state: object, bucket: GradBucket) -> Future[Tensor]:
        """Takes a bucket of gradients, promises their mean. DDP's logs have its name."""
        mean = self._synchroniser.take(bucket, self._trains())
        if bucket.is_last():
            self._after_this_pass(mean)
        return mean

    def _trains(self) -> bool | None:
        """Whether this rank has samples left, in a `Join` whose means are over those that have."""
        model = self._model()
        if model is None or not averages_who_is_left(model):
            return None
        return in_backward()

    def _after_this_pass(self, last: Future[Tensor]) -> None:
        # An error in the future would reach the script as a RuntimeError of C++, without its type.
        # Autograd keeps the type of what its callbacks raise. They run in turn, DDP's own end of the
        # pass between these two: DDP is then ready for another pass, which fails likewise.
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
        """Whether DDP asks all ranks which parameters they used, and would wait for the lost one."""
        model = self._model()
        if model is None or not model.find_unused_parameters or model.static_graph:
            return False
        skip_unused_parameters(model)
        return True

    def _end_where_failed(self) -> None:
        """Leave no gradients to step along."""
        if self._synchroniser.error is not None and (model := self._model()) is not None:
            for parameter in model.parameters():
                parameter.grad = None
        self._synchroniser.raise_failure()
