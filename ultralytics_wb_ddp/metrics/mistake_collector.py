"""Collect the mistakes of the final evaluation from all ranks.

Nothing is inferred twice, no model is copied, and no collective operation is called. A rank reads its validator's
results, keeps the worst images, and writes to the launch's store those that rank 0 needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.metrics.mistakes import Mistake, MistakeScore, WorstImages, select_worst
from ultralytics_wb_ddp.metrics.validator_predictions import TASKS, ValidatorReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ultralytics_wb_ddp.distributed.rank_store import RankStore
    from ultralytics_wb_ddp.distributed.topology import Topology

    Summary = Sequence[tuple[str, int, float]]  # name, number of mistakes and confidence of each image, the worst first


READ_TIMEOUT = 1.0  # seconds that the store may take to answer
GATHER_TIMEOUT = 5.0  # seconds that the images of another rank may take to arrive
HOOKED_METHOD = "update_metrics"  # method of a validator that receives predictions and labels


class MistakeCollector:
    """Collector of the worst images of this rank's final evaluation, at most ``size``.

    The ranks exchange their images by the ``store``, which is None in a training without other ranks.
    """

    def __init__(self, size: int, topology: Topology | None) -> None:
        self._size = size
        self._rank, self._ranks = (topology.rank, topology.world_size) if topology else (0, 1)
        self.store: RankStore | None = None
        self._worst = WorstImages(size)
        self._error: Exception | None = None
        self._is_done = False

    def attach(self, validator: Any) -> None:
        """Collect the mistakes of a final evaluation, from the validator's start.

        The validator's ``update_metrics`` is wrapped until its last batch. An error is kept for :meth:`gather`; the
        validation continues. Validations during the training and unknown tasks are ignored.
        """
        if validator.training or validator.args.task not in TASKS:
            return
        self._worst, self._error, self._is_done = WorstImages(self._size), None, False
        evaluate, instance_method = getattr(validator, HOOKED_METHOD), vars(validator).get(HOOKED_METHOD)
        reader: list[ValidatorReader] = []  # created at the first batch: the validator has no dataset before

        def begin() -> None:
            reader[:] = reader or [ValidatorReader(validator)]
            reader[0].on_batch_start()

        def collect(preds: Any, batch: dict[str, Any]) -> None:
            for score, create_mistake in reader[0].on_batch_end(preds, batch):
                self._worst.add_if_worse(score, create_mistake)

        def update_metrics(preds: Any, batch: dict[str, Any]) -> None:
            self._guard(begin)
            evaluate(preds, batch)
            self._guard(lambda: collect(preds, batch))
            if validator.batch_i + 1 >= len(validator.dataloader):
                if instance_method is None:
                    delattr(validator, HOOKED_METHOD)
                else:
                    setattr(validator, HOOKED_METHOD, instance_method)
                self._guard(self._finish)

        setattr(validator, HOOKED_METHOD, update_metrics)

    def publish(self) -> None:
        """Write the images that rank 0 needs to the store.

        Rank 0 itself writes nothing. All ranks have evaluated their images by now, because the validator gathers their
        results. A rank without a summary in the store counts as a rank without mistakes; then more images are written
        than rank 0 needs.
        """
        if self._is_done and self._rank and self.store:
            self._is_done = False
            own_mistakes = self._worst.sorted()
            chosen = _select_worst({**self._summaries(), self._rank: _summary(own_mistakes)}, self._size)
            entries = {_store_key(rank, index): own_mistakes[index] for rank, index in chosen if rank == self._rank}
            self.store.write_many(entries, patience=READ_TIMEOUT)

    def gather(self) -> list[Mistake]:
        """Return the worst images of all ranks, on rank 0, the worst first; empty without a final evaluation.

        An image that another rank has not written within 5 seconds is left out. The error that ended the collection on
        this rank is raised.
        """
        if self._error:
            raise self._error
        own_mistakes = self._worst.sorted()
        if not (self._is_done and self.store):
            return own_mistakes
        chosen = _select_worst({**self._summaries(), 0: _summary(own_mistakes)}, self._size)
        received = self.store.wait([_store_key(rank, index) for rank, index in chosen if rank], GATHER_TIMEOUT)
        return [
            received[_store_key(rank, index)] if rank else own_mistakes[index]
            for rank, index in chosen
            if not rank or _store_key(rank, index) in received
        ]

    def _finish(self) -> None:
        self._is_done = True
        if self.store:
            self.store.write(f"mistakes/{self._rank}", _summary(self._worst.sorted()))

    def _summaries(self) -> dict[int, Summary]:
        ranks = {f"mistakes/{rank}": rank for rank in range(self._ranks) if rank != self._rank}
        return (
            {ranks[key]: summary for key, summary in self.store.read(ranks, READ_TIMEOUT).items()} if self.store else {}
        )

    def _guard(self, step: Callable[[], None]) -> None:
        """Run a step unless an earlier step failed. Its error is kept for :meth:`gather`."""
        if self._error is None:
            try:
                step()
            except Exception as error:  # noqa: BLE001  # a changed release must not end the validation
                self._error = error


def _summary(mistakes: list[Mistake]) -> Summary:
    return [(mistake.name, mistake.rank.mistakes, mistake.rank.confidence) for mistake in mistakes]


def _select_worst(summaries: Mapping[int, Summary], size: int) -> list[tuple[int, int]]:
    """Return the worst images as rank and index. Equal summaries give an equal choice on each rank."""
    candidates = [(rank, index) for rank in sorted(summaries) for index in range(len(summaries[rank]))]
    images = [summaries[rank][index] for rank, index in candidates]
    scores = [(name, MistakeScore(mistakes, confidence)) for name, mistakes, confidence in images]
    return [candidates[number] for number in select_worst(scores, size)]


def _store_key(rank: int, index: int) -> str:
    return f"mistakes/{rank}/{index}"
