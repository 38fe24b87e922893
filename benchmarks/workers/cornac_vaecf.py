"""Cornac's VAECF; a unit is an epoch of its own training. Run by Cornac's Python. Settings: `data`."""

from __future__ import annotations

from arrays import load
from cornac.data import Dataset
from cornac.models import VAECF
from cornac.models.vaecf import vaecf
from protocol import Worker

HIDDEN, LATENT, BATCH_USERS = 256, 512, 500


class PausingEpochs:
    """Stands for the progress bar that Cornac's training loops over: pauses after each epoch."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def __iter__(self):
        epoch = 0
        while True:
            yield (epoch := epoch + 1)
            self.worker.pause()

    def set_postfix(self, **_) -> None:
        """Show nothing."""


if __name__ == "__main__":
    worker = Worker()
    part = load(worker.settings["data"])
    triplets = zip(part.user_index.tolist(), part.indices.tolist(), part.values.tolist(), strict=True)
    dataset = Dataset.build(list(triplets), seed=0)
    worker.loaded()
    vaecf.trange = lambda *_, **__: PausingEpochs(worker)
    VAECF(k=LATENT, autoencoder_structure=[HIDDEN], batch_size=BATCH_USERS, seed=0).fit(dataset)
