"""`HyVAE(preset="fast").fit`, once, as people call it.

Settings: `train`, `valid`, `test`, `plan` (fields of the training plan), and `save` (a folder, or none).
"""

from __future__ import annotations

import time

from arrays import errors, load
from hyvae_ratings import ratings_of
from protocol import Worker

from hyvae import HyVAE

if __name__ == "__main__":
    worker = Worker()
    parts = {name: ratings_of(worker.settings[name]) for name in ("train", "valid", "test")}
    worker.loaded()
    model = HyVAE(preset="fast", **worker.settings["plan"])
    started = time.perf_counter()
    model.fit(parts["train"], parts["valid"], seed=0, progress=False)
    seconds = time.perf_counter() - started
    if worker.settings.get("save"):
        model.save(worker.settings["save"])
    found = {
        name: errors(model.predict_ratings(parts[name]), load(worker.settings[name])) for name in ("valid", "test")
    }
    worker.answer(seconds=seconds, best_epoch=model.training.best_epoch, **found)
