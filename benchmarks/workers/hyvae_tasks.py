"""What users do, by the public interface alone, so that any version of hyvae can be timed.

Settings: `source` (of ratings), `csv` (a file of them) and `folder` (for runs). A unit is a task, by its name.
"""

from __future__ import annotations

from pathlib import Path

from protocol import Worker

from hyvae import HyVAE, Ratings

PEOPLE = 300

if __name__ == "__main__":
    worker = Worker()
    folder = Path(worker.settings["folder"])
    ratings = Ratings.read(worker.settings["source"])
    train, valid, test = ratings.split(seed=0)
    worker.loaded()
    model = HyVAE(preset="fast", epochs=20).fit(train, valid, seed=0, progress=False)
    small = {"epochs": 1, "samples": 2, "chains": 1, "sweeps": 12}
    users, items = test.user_ids, test.item_ids
    rated = [train.history(user) for user in range(min(PEOPLE, train.n_users))]
    people = [
        dict(zip(train.items.ids[index].tolist(), values.tolist(), strict=True))
        for index, values in rated
        if len(index)
    ]

    def fold_in() -> None:
        for person in people:
            model.recommend(person)

    def run_folder() -> None:
        model.save(folder / "run")
        HyVAE.load(folder / "run")

    TASKS = {
        "read a CSV file": lambda: Ratings.read(worker.settings["csv"]),
        "train fast": lambda: HyVAE(preset="fast", epochs=20).fit(train, valid, seed=0, progress=False),
        "train the sampler": lambda: HyVAE(**small).fit(train, valid, seed=0, progress=False),
        "train paper": lambda: HyVAE(preset="paper", epochs=1).fit(train, valid, seed=0, progress=False),
        "predict": lambda: model.predict(users, items),
        "lists of everyone": lambda: model.recommend_table(n=10),
        "lists of new people": fold_in,
        "save and load": run_folder,
    }
    for task in TASKS.values():
        task()  # the first time warms up
    asked = worker.pause()
    while True:
        TASKS[asked]()
        asked = worker.pause()
