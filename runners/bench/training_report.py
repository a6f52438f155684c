"""What `bench training` says of its turns: rates, utilisation, ratios, and a table of them."""

from __future__ import annotations

from typing import Any

from runners.bench.sides import OURS
from runners.bench.turns import range_in_words, ratios, summary

SQUARE_PRODUCT, OWN_PRODUCTS = "square product", "the encoder's own products"


def summarise(content: dict[str, Any]) -> None:
    """Compute what the turns so far say; sides whose last losses differ do not agree.

    Model FLOPs are those of our ledger, for every side: what the examples need, not what a side spends on them.
    Utilisation is repetition by repetition, and of the square product of the same repetition.
    """
    mine = content["sides"][OURS]["turns"]
    examples, agreement = content["subject"]["examples"], content["agreement"]
    square = content["products"][SQUARE_PRODUCT]["turns"]
    on_cpu = mine[0]["processor_seconds"] is not None
    for name, side in content["sides"].items():
        seconds = [turn["seconds"] for turn in side["turns"]]
        rates = [mine[0]["model_flops"] / each for each in seconds]
        found = {
            "examples_per_second": summary([examples / each for each in seconds]),
            "tokens_per_second": summary([mine[0]["tokens"] / each for each in seconds]),
            "model_flops_per_second": summary(rates),
            "utilisation": summary(ratios(rates, [each["clock"] for each in square])),
            "seconds_over_ours": summary(ratios(seconds, [turn["seconds"] for turn in mine])),
        }
        if on_cpu:
            busy = [turn["processor_seconds"] for turn in side["turns"]]
            rates = [mine[0]["model_flops"] / each for each in busy]
            found["processor_utilisation"] = summary(ratios(rates, [each["processor"] for each in square]))
            found["processor_seconds_over_ours"] = summary(ratios(busy, [one["processor_seconds"] for one in mine]))
        side["summary"] = found
        last = [(one["losses"][-1], other["losses"][-1]) for one, other in zip(side["turns"], mine, strict=True)]
        differs = max(abs(theirs - own) / abs(own) for theirs, own in last)
        agreement.setdefault("last_relative", {})[name] = differs
    agreement["agree"] = all(each <= agreement["tolerance"] for each in agreement["last_relative"].values())
    for product in content["products"].values():
        if product["turns"]:
            product["summary"] = summary([each["clock"] for each in product["turns"]])


def table(content: dict[str, Any]) -> str:
    """Return the result in words."""
    subject, mine = content["subject"], content["sides"][OURS]
    facts = content["environment"]
    lines = [
        f"{subject['method']}:{subject['stage']} on {subject['backbone']} ({subject['parameters']:,} parameters), "
        f"{subject['examples']:,} examples in batches of {subject['batch']}, {content['repetitions']} repetitions, "
        f"{facts['threads']} threads, {facts['precision']}, load before {facts['load_before']}; median (range)",
        "",
        "| side | examples/s | tokens/s | model GFLOP/s | of the square product, % | time, ours = 1 | processor time |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, side in content["sides"].items():
        found = side["summary"]
        cells = [
            range_in_words(found["examples_per_second"], 1),
            range_in_words(found["tokens_per_second"], 0),
            range_in_words(found["model_flops_per_second"], 1, 1e-9),
            range_in_words(found["utilisation"], 0, 100),
        ]
        for ratio in ("seconds_over_ours", "processor_seconds_over_ours"):
            cells.append("1" if name == OURS else range_in_words(found[ratio]) if ratio in found else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, product in content["products"].items():
        if "summary" in product:
            lines.append(f"| {name} | | | {range_in_words(product['summary'], 1, 1e-9)} | | | |")
    turn = mine["turns"][0]
    lines.append(f"\nPadding of ours: {100 * (1 - turn['tokens'] / turn['padded_tokens']):.0f} % of its tokens.")
    if "processor_utilisation" in mine["summary"]:
        share = range_in_words(mine["summary"]["processor_utilisation"], 0, 100)
        lines.append(f"By the processor's time ours is at {share} % of the square product.")
    agreement = content["agreement"]
    losses = ", ".join(f"{who} {loss:.6f}" for who, loss in agreement["first_losses"].items())
    lines.append(f"First losses: {losses}; last ones differ by {max(agreement['last_relative'].values()):.1g} of ours.")
    if not agreement["agree"]:
        lines.append("The sides part on the way: the times are NOT of the same work.")
    return "\n".join(lines)
