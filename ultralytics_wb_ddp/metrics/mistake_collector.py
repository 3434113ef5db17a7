"""Collects the mistakes of the final evaluation while it goes on, and brings those of all ranks together.

No second inference, no copy of the model, no collective operation: a rank looks at what its validator has evaluated,
keeps the worst images, and puts into the exchange of the launch what rank 0 will want.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.metrics.mistakes import Mistake, MistakeScore, WorstImages, select_worst
from ultralytics_wb_ddp.metrics.validator_predictions import TASKS, ValidatorReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ultralytics_wb_ddp.distributed.rank_store import RankStore
    from ultralytics_wb_ddp.distributed.topology import Topology

    Summary = Sequence[tuple[str, int, float]]  # name, mistakes and confidence of images, the worst first


READ_TIMEOUT = 1.0  # seconds that the exchange may take to answer
GATHER_TIMEOUT = 5.0  # seconds that the images of another rank may take to arrive
HOOKED_METHOD = "update_metrics"  # the method of a validator that gets predictions and labels


class MistakeCollector:
    """The worst images of a training's final evaluation, as this rank has evaluated them.

    Args:
        size: How many images are kept.
        topology: Place of this rank among the others; None in a training without others.

    Attributes:
        exchange: What the ranks tell each other through; None without others.
    """

    def __init__(self, size: int, topology: Topology | None) -> None:
        self._size = size
        self._rank, self._ranks = (topology.rank, topology.world_size) if topology else (0, 1)
        self.store: RankStore | None = None
        self._worst = WorstImages(size)
        self._error: Exception | None = None
        self._is_done = False

    def attach(self, validator: Any) -> None:
        """Look at what a validator of a final evaluation evaluates, from its start to its last batch.

        Its own ``update_metrics`` is wrapped for that long. Whatever goes wrong here is kept for :meth:`gather`, and
        the validation goes on.
        """
        if validator.training or validator.args.task not in TASKS:
            return
        self._worst, self._error, self._is_done = WorstImages(self._size), None, False
        evaluate, instances_own = getattr(validator, HOOKED_METHOD), vars(validator).get(HOOKED_METHOD)
        reader: list[ValidatorReader] = []  # made at the first batch: the validator does not know its data earlier

        def begin() -> None:
            reader[:] = reader or [ValidatorReader(validator)]
            reader[0].on_batch_start()

        def look(preds: Any, batch: dict[str, Any]) -> None:
            for rank, make in reader[0].on_batch_end(preds, batch):
                self._worst.add_if_worse(rank, make)

        def update_metrics(preds: Any, batch: dict[str, Any]) -> None:
            self._guard(begin)
            evaluate(preds, batch)
            self._guard(lambda: look(preds, batch))
            if validator.batch_i + 1 >= len(validator.dataloader):
                if instances_own is None:
                    delattr(validator, HOOKED_METHOD)
                else:
                    setattr(validator, HOOKED_METHOD, instances_own)
                self._guard(self._finish)

        setattr(validator, HOOKED_METHOD, update_metrics)

    def publish(self) -> None:
        """On another rank than 0, put there what rank 0 will want, once all ranks have evaluated their images.

        That they have is what the validator's own gathering sees to. A rank that has not said by now what it found is
        taken to have found nothing; then more is put there than is wanted.
        """
        if self._is_done and self._rank and self.store:
            self._is_done = False
            mine = self._worst.sorted()
            chosen = _select_worst({**self._summaries(), self._rank: _summary(mine)}, self._size)
            wanted = {_store_key(rank, place): mine[place].to_json() for rank, place in chosen if rank == self._rank}
            self.store.write_many(wanted, patience=READ_TIMEOUT)

    def gather(self) -> list[Mistake]:
        """On rank 0, return the worst images of all ranks, the worst first; none without an evaluation.

        What another rank has not put there within 5 seconds is left out.

        Raises:
            Exception: What went wrong on this rank while they were collected.
        """
        if self._error:
            raise self._error
        mine = self._worst.sorted()
        if not (self._is_done and self.store):
            return mine
        chosen = _select_worst({**self._summaries(), 0: _summary(mine)}, self._size)
        theirs = self.store.wait([_store_key(rank, place) for rank, place in chosen if rank], GATHER_TIMEOUT)
        return [
            Mistake.from_json(theirs[_store_key(rank, place)]) if rank else mine[place]
            for rank, place in chosen
            if not rank or _store_key(rank, place) in theirs
        ]

    def _finish(self) -> None:
        self._is_done = True
        if self.store:
            self.store.write(f"mistakes/{self._rank}", _summary(self._worst.sorted()))

    def _summaries(self) -> dict[int, Summary]:
        """Return what other ranks have found, as far as they have said it."""
        ranks = {f"mistakes/{rank}": rank for rank in range(self._ranks) if rank != self._rank}
        return (
            {ranks[key]: summary for key, summary in self.store.read(ranks, READ_TIMEOUT).items()} if self.store else {}
        )

    def _guard(self, step: Callable[[], None]) -> None:
        """Do something unless something went wrong before."""
        if self._error is None:
            try:
                step()
            except Exception as error:  # noqa: BLE001  # whatever a release has changed, the validation goes on
                self._error = error


def _summary(mistakes: list[Mistake]) -> Summary:
    return [(mistake.name, mistake.rank.mistakes, mistake.rank.confidence) for mistake in mistakes]


def _select_worst(summaries: Mapping[int, Summary], size: int) -> list[tuple[int, int]]:
    """Return the worst images of all ranks, as rank and place in its summary; who knows as much chooses the same."""
    places = [(rank, place) for rank in sorted(summaries) for place in range(len(summaries[rank]))]
    found = [summaries[rank][place] for rank, place in places]
    ranked = [(name, MistakeScore(mistakes, confidence)) for name, mistakes, confidence in found]
    return [places[index] for index in select_worst(ranked, size)]


def _store_key(rank: int, place: int) -> str:
    return f"mistakes/{rank}/{place}"
