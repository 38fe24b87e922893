"""The page about a run: what its files hold and what its model answers, section by section.

Nothing is taken on trust that can be measured: errors are those of the run's weights on the run's test part. A model
that only ranks has no errors: it is measured by its lists alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hyvae.data.describe import describe
from hyvae.evaluation import evaluate
from hyvae.evaluation.posterior import TELLING_NATS, kl_per_unit
from hyvae.metrics import rmse
from hyvae.models import REGISTRY
from hyvae.ratings import Ratings, concatenate
from hyvae.recommender import INTERVAL_COVERAGE, Recommender
from hyvae.reports import figures
from hyvae.reports.html import card, document, figure, missing, number, section, table, text
from hyvae.runs import Run
from hyvae.scoring import VALIDATION_LIST

# what the loss parts of the models are called in words; another part is called by its name
PARTS = {
    "rec": "Loss: the ratings",
    "vae": "Loss: the variational branch alone",
    "deep": "Loss: the deterministic branch alone",
    "kl": "Loss: KL to the prior",
    "l2": "Loss: size of the weights",
}
# and of models that only rank
RANKING_PARTS = PARTS | {"rec": "Loss: which items were taken"}
# ratings that someone must have given to be an example, and lines of an example's lists
EXAMPLE_RATINGS, EXAMPLE_LINES = 5, 5
GROUP_MEASURES = (("rmse", "RMSE"), ("bias_rmse", "bias"), ("mae", "MAE"), ("bias_mae", "bias"))
NO_TEST = "The run keeps no test ratings: it was trained on all of them, or saved without anyone's ratings."
NO_HISTORY = "The run keeps no ratings of anyone."


def page(run: Run) -> str:
    """A whole HTML document about `run`."""
    recommender = Recommender.from_run(run)
    test = run.held_out.get("test")
    # without test ratings there is what was measured when the run was made, or nothing
    metrics = evaluate(recommender, test) if test is not None and len(test) else run.metrics
    title = f"{REGISTRY[run.config.model].title} on {run.provenance.get('source', 'ratings')}"
    body = (
        f"<header><h1>{text(title)}</h1><p>{text(_trained(run))}</p></header>",
        _results(run, metrics, recommender.predicts_ratings),
        _data(run),
        _training(run, recommender),
        *([_errors(run, recommender, metrics)] if recommender.predicts_ratings else []),
        _examples(recommender),
        _provenance(run),
    )
    return document(title, *body)


def _trained(run: Run) -> str:
    said = f"Model {run.config.model}, preset {run.config.preset}"
    ratings, seconds = _look(run.provenance, "train", "ratings"), _look(run.provenance, "seconds")
    return f"{said}; trained on {number(ratings)} ratings in {number(seconds, 1)} s." if ratings else f"{said}."


def _results(run: Run, metrics: dict[str, Any], predicts_ratings: bool) -> str:
    k, people = _look(metrics, "ranking", "k"), _look(metrics, "ranking", "users")
    unranked = "not measured" if people is None else "no user with a relevant test rating"
    ranked = f"lists of {number(k)} for {number(people)} users" if people else unranked
    ndcg = _headline(f"NDCG@{number(k or 10)}", number(_look(metrics, "ranking", "ndcg")), text(ranked))
    if predicts_ratings:
        cards = [*_errors_at_large(run, metrics), ndcg, _interval(run, metrics)]
    else:
        cards = [ndcg, *_lists_at_large(metrics, k or 10, bool(people))]
    note = missing(NO_TEST)
    if metrics:
        fallbacks = _look(metrics, "fallbacks")
        said = f"{number(_look(metrics, 'ratings'))} test ratings of {number(_look(metrics, 'users'))} users. "
        if predicts_ratings:
            said += "RMSE and MAE: lower is better; NDCG: higher. The bias model is a mean with user and item effects."
            if fallbacks:
                said += f" It answers {number(fallbacks)} ratings, whose user or item has no training rating."
        else:
            said += "The model ranks items and predicts no ratings: it is measured by its lists; higher is better."
            least = _look(metrics, "ranking", "relevant_from")
            if isinstance(least, int | float):
                said += f" Relevant to a user: what they rated {least:g} or more."
        note = f'<p class="note">{text(said)}</p>'
    headlines = f'<div class="headlines">{"".join(cards)}</div>'
    return f'<section aria-labelledby="results"><h2 id="results">Results</h2>{headlines}{note}</section>'


def _errors_at_large(run: Run, metrics: dict[str, Any]) -> Iterator[str]:
    for kind, name in (("pooled", "pooled"), ("user_mean", "user mean")):
        for measure in ("rmse", "mae"):
            value, bias = _look(metrics, kind, measure), _look(metrics, "bias", kind, measure)
            yield _headline(f"{measure.upper()}, {name}", number(value), _difference(run, value, bias))


def _lists_at_large(metrics: dict[str, Any], k: Any, measured: bool) -> Iterator[str]:
    for title, key, meaning in (
        (f"Recall@{number(k)}", "recall", "share of a user’s relevant items that their list has"),
        ("MRR", "mrr", "one over the rank of the first relevant item"),
        ("Coverage", "coverage", "share of the items that some list has"),
    ):
        yield _headline(title, number(_look(metrics, "ranking", key)), meaning if measured else "not measured")


def _interval(run: Run, metrics: dict[str, Any]) -> str:
    """Half of the mean interval, and the share of the test ratings inside."""
    covered = ("–", "needs validation ratings")
    old = run.config.interval_half_width
    if old is not None:
        covered = (f"±{number(old, 2)}", f"holds {INTERVAL_COVERAGE:.0%} of the validation ratings")
    rows = _look(metrics, "uncertainty", "coverage")
    for row in rows if isinstance(rows, list) else []:
        stated, observed, width = (_look(row, name) for name in ("stated", "observed", "width"))
        if stated == INTERVAL_COVERAGE and all(isinstance(value, int | float) for value in (observed, width)):
            said = f"on average; {INTERVAL_COVERAGE:.0%} were to be inside, {observed:.1%} of the test ratings are"
            covered = (f"±{number(width / 2, 2)}", said)
    return _headline("Prediction interval", *covered)


def _headline(title: str, value: str, below: str) -> str:
    return f'<div class="headline"><h3>{text(title)}</h3><p class="value">{value}</p><p>{below}</p></div>'


def _difference(run: Run, value: Any, bias: Any) -> str:
    if number(value) == "–" or number(bias) == "–":
        return "not measured"
    if run.config.model == "bias":
        return "this is the bias model"
    if number(abs(bias - value)) == number(0.0):
        return f"the same as the bias model’s {number(bias)}"
    word = "better" if value < bias else "worse"
    return f'<span class="{word}">{number(abs(bias - value))} {word}</span> than the bias model’s {number(bias)}'


def _look(content: Any, *keys: str) -> Any:
    """A value in nested dicts, or None: ``metrics.json`` is the one file of a run that nothing vouches for."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _data(run: Run) -> str:
    parts = {"training": run.history, **run.held_out}
    kept = [part for part in parts.values() if len(part)]
    if not kept:
        rated = run.item_counts[run.item_counts > 0]
        low, high = run.history.scale
        facts = {"users": number(run.config.n_users), "items": number(len(run.item_counts))}
        facts |= {"training ratings": number(int(rated.sum())), "scale": f"{low:g} to {high:g}"}
        shown = [card("The ratings", table("The ratings", facts.items()), missing(NO_HISTORY))]
        return section("data", "The data", *shown, *([_spread({"items": rated})] if len(rated) else []))
    ratings = concatenate(kept)
    caption = f"How often each rating was given; the mean is {ratings.values.mean(dtype=np.float64):.2f}."
    counts = {"users": ratings.user_counts, "items": ratings.item_counts}
    return section(
        "data",
        "The data",
        card("The ratings", table("The ratings", _table_one(ratings, parts))),
        figure("ratings", "Ratings given", figures.histogram(ratings.values, ratings.scale), caption),
        _spread({kind: count[count > 0] for kind, count in counts.items()}),
    )


def _table_one(ratings: Ratings, parts: Mapping[str, Ratings]) -> Iterator[tuple[str, ...]]:
    facts = describe(ratings)
    for kind in ("users", "items"):
        listed = facts[f"listed_{kind}"]
        unrated = f" (and {number(listed - facts[kind])} without a rating)" if listed > facts[kind] else ""
        yield kind, number(facts[kind]) + unrated
    yield "ratings", number(facts["ratings"])
    for name, part in parts.items():
        yield f"in {name}", number(len(part))
    yield "density", f"{facts['density']:.2%} (sparsity {facts['sparsity']:.2%})"
    yield "mean rating", number(facts["mean"], 3)
    yield "scale", f"{facts['scale'][0]:g} to {facts['scale'][1]:g}"
    for kind in ("user", "item"):
        low, median, mean, high = facts[f"ratings_per_{kind}"].values()
        yield f"per {kind}", f"{low:,} to {high:,}, median {median:,g}, mean {mean:,.1f}"
    if facts["first"] is not None:
        yield "given", f"{facts['first'][:10]} to {facts['last'][:10]}"


def _spread(counts: dict[str, Any]) -> str:
    median = "; of ".join(f"the median {kind[:-1]}: {np.median(count):,g}" for kind, count in counts.items())
    title = f"Ratings per {' and per '.join(kind[:-1] for kind in counts)}"
    return figure("spread", title, figures.spread(counts), f"Ratings of {median}.")


def _training(run: Run, recommender: Recommender) -> str:
    curves, best = run.curves, run.provenance.get("best_epoch")
    if not curves:
        none = card("Loss", missing("The run has no curves: nothing was trained by gradient."))
        return section("training", "Training", none, _latent_units(recommender))
    shown = [_validation(run, recommender, best)]
    names = PARTS if recommender.predicts_ratings else RANKING_PARTS
    for name in (key.removeprefix("loss_") for key in curves[0] if key.startswith("loss_")):
        training, held_out = _points(curves, f"loss_{name}"), _points(curves, f"valid_{name}")
        if not training:
            continue
        beside = f", {number(held_out[-1][1])} on the validation ratings" if held_out else ""
        caption = f"Part “{name}”, as weighted in the loss: {number(training[-1][1])} in the last epoch{beside}."
        drawing = figures.curves("loss", training, held_out, None, best)
        shown.append(figure(f"loss-{len(shown)}", names.get(name, f"Loss: {name}"), drawing, caption))
    return section("training", "Training", *shown, _latent_units(recommender))


def _validation(run: Run, recommender: Recommender, best: Any) -> str:
    """The measure by which the kept weights were chosen."""
    rates = recommender.predicts_ratings
    measure, column = ("RMSE", "validation_rmse") if rates else (f"NDCG@{VALIDATION_LIST}", "validation_ndcg")
    measured, title = _points(run.curves, column), f"Validation {measure}"
    if not measured:
        return card(title, missing("Nothing was validated; the weights of the last epoch are kept."))
    kept = f"the weights of epoch {number(best)} are kept" if best else "the run does not say which epoch was kept"
    values = [value for _, value in measured]
    if not rates:
        caption = f"Lists against the validation ratings: {kept}, highest {number(max(values))}."
        return figure("validation", title, figures.curves(measure, [], measured, None, best), caption)
    validation = run.held_out.get("validation")
    bias = None
    if validation is not None and len(validation):
        bias = rmse(recommender.predict_baseline(validation), validation.values)
    beside = "" if bias is None else f"; the bias model’s is {bias:.4f}"
    caption = f"Error on the validation ratings: {kept}, lowest {number(min(values))}{beside}."
    return figure("validation", title, figures.curves(measure, [], measured, bias, best), caption)


def _points(curves: list[dict[str, Any]], column: str) -> list[tuple[float, float]]:
    return [(row["epoch"], row[column]) for row in curves if row.get(column) is not None]


def _latent_units(recommender: Recommender) -> str:
    title = "KL per latent unit"
    kl = kl_per_unit(recommender)
    if kl is None:
        known = recommender.history.user_counts.any()
        return card(title, missing("The model has no latent distribution." if known else NO_HISTORY))
    telling = int((kl > TELLING_NATS).sum())
    caption = (
        f"How far each unit’s distribution is from the prior, mean over the training users: {telling} of {len(kl)} "
        f"units hold more than {TELLING_NATS:g} nats; all together hold {kl.sum():.2f} nats."
    )
    return figure("latent", title, figures.latent_units(kl, TELLING_NATS), caption)


def _errors(run: Run, recommender: Recommender, metrics: dict[str, Any]) -> str:
    shown = []
    test = run.held_out.get("test")
    if test is not None and len(test):
        predictions = recommender.predict_ratings(test)
        drawing = figures.agreement(test.values, predictions, test.scale)
        caption = (
            f"Predictions at each true rating of the {len(test):,} test ratings: their mean, the middle half, and all "
            "but the outer tenth. The dashed line is where they would agree."
        )
        shown.append(figure("agreement", "Predicted and true ratings", drawing, caption))
    else:
        shown.append(card("Predicted and true ratings", missing(NO_TEST)))
    points = _look(metrics, "uncertainty", "reliability")
    if isinstance(points, list) and points and all(_is_point(point) for point in points):
        caption = (
            "Share of the test ratings inside the intervals that are to hold 5, 10, … 95 %. On the dashed line the "
            f"model is as sure as it says; CRPS {number(_look(metrics, 'uncertainty', 'crps'))}, mean log-likelihood "
            f"{number(_look(metrics, 'uncertainty', 'log_likelihood'))}."
        )
        shown.append(figure("reliability", "Is it as sure as it says?", figures.reliability(points), caption))
    compared = run.config.model != "bias"
    for key, of in (("by_user_activity", "user"), ("by_item_popularity", "item")):
        rows = _groups(metrics, key)
        with_bias = compared and all("bias_rmse" in row for row in rows)
        if rows:
            title = f"Error by {'user activity' if of == 'user' else 'item popularity'}"
            caption = (
                f"RMSE of the test ratings by the number of training ratings of their {of}, each group from the one "
                "before; below it, how many test ratings there are."
            )
            drawing = figures.grouped_errors(rows, f"training ratings of the {of}", with_bias)
            columns = ("training", "test", *(head for _, head in GROUP_MEASURES))
            numbers = [
                (
                    figures.group_label(row),
                    number(row["ratings"]),
                    *(number(row.get(measure)) for measure, _ in GROUP_MEASURES),
                )
                for row in rows
            ]
            shown.append(figure(key, title, drawing, caption, table(title, numbers, columns)))
    return section("errors", "Errors on the test ratings", *shown)


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, int | float) for part in value)


def _groups(metrics: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows = _look(metrics, key)
    return [
        row
        for row in (rows if isinstance(rows, list) else [])
        if all(isinstance(_look(row, name), int | float) for name in ("from", "ratings", "rmse"))
        and isinstance(row.get("to"), int | None)
    ]


def _examples(recommender: Recommender) -> str:
    history = recommender.history
    known = np.flatnonzero(history.user_counts >= EXAMPLE_RATINGS)
    if not len(known):
        reason = f"Nobody in the run has {EXAMPLE_RATINGS} training ratings." if len(history) else NO_HISTORY
        return section("examples", "Recommendations for three users", missing(reason))
    ranked = known[np.argsort(history.user_counts[known], kind="stable")]
    chosen = dict.fromkeys(int(ranked[place]) for place in (0, len(ranked) // 2, -1))
    return section("examples", "Recommendations for three users", *(_example(recommender, user) for user in chosen))


def _example(recommender: Recommender, user: int) -> str:
    history = recommender.history
    items, ratings = history.history(user)
    names = history.items.ids if history.titles is None else history.titles
    best = np.argsort(-ratings, kind="stable")[:EXAMPLE_LINES]
    liked = [(names[items[k]], f"{ratings[k]:g}") for k in best]
    id_ = history.users.ids[user : user + 1].tolist()[0]
    offered = [
        (line.title, number(line.score, 2) + ("" if line.sd is None else f"\u00a0±\u00a0{number(line.sd, 2)}"))
        for line in recommender.recommend(id_, n=EXAMPLE_LINES)
    ]
    scored = "predicted" if recommender.predicts_ratings else "score"
    return card(
        f"User {id_}, {len(items):,} training ratings",
        table(f"Rated highest by user {id_}", liked, ("rated highest", "rating")),
        table(f"Recommended to user {id_}", offered, ("recommended", scored))
        if offered
        else missing("There is no item left to recommend."),
    )


def _provenance(run: Run) -> str:
    came = table("Provenance", _flat(run.provenance)) if run.provenance else missing("The run does not say.")
    plan = "<h3>Training plan</h3>" + table("Training plan", _flat(run.config.plan))
    settings = card("Settings of the model", table("Settings of the model", _flat(run.config.settings)))
    return section("provenance", "Provenance", card("The run", came, plan, wide=True), settings)


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, f"{name} ")
        elif key == "command" and isinstance(value, list):
            yield name, shlex.join(map(str, value))
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value))
        else:
            # as the command line takes them: none, true, false
            plain = value is None or isinstance(value, bool)
            yield name, str(value).lower() if plain else f"{value:g}" if isinstance(value, float) else str(value)
