"""Whether what a record names is still what it was: every hash and address that can be computed again."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.kinds import KINDS
from genembench.problem import Problem
from leaderboard.records import Record
from methods.encoder import encoder_address, files_hash
from methods.registry import stage_source
from runners.addresses import evaluation_address, preparation_address, run_address, training_address
from runners.checklist import Checklist
from runners.recorded import RecordedRun
from runners.records import environment

PART = "contents"


def check_contents(run: RecordedRun, found: Checklist) -> None:
    """Check the addresses of a run: method, encoder, backbone, data, stages, benchmark, and the run's own."""
    record = run.record
    same_source = None
    if not record.finished_model:
        same_source = _check_source(run, found)
        _check_manifest(run, found)
        _check_weights(run, found)
        _check_backbone(run, found)
    for kind in record.data:
        _check_data(run, kind, found)
    if record.training_address is not None:
        _check_stages(run, same_source, found)
    _check_benchmark(run, found)
    _check_evaluation(run, found)
    _check_run_address(run, found)


def check_environment(record: Record, device: str, found: Checklist) -> list[str]:
    """Note what is not as it was on the machine of the record; return the differences in words."""
    then: dict[str, Any] = dict(record.environment)
    now = environment(str(then.get("attention", "")), device)
    versions = {f"{name} (package)": each for name, each in dict(then.pop("packages", {})).items()}
    after = {f"{name} (package)": each for name, each in now.pop("packages").items()}
    pairs = {**then, **versions}, {**now, **after}
    differences = [
        f"{key} {pairs[0].get(key)} then, {pairs[1].get(key)} now"
        for key in dict.fromkeys([*pairs[0], *pairs[1]])
        if pairs[0].get(key) != pairs[1].get(key)
    ]
    for each in differences:
        found.add("environment", "not as then", "note", each)
    if not differences:
        found.add("environment", "as then", "note", "the same machine, threads and packages")
    return differences


def _check_source(run: RecordedRun, found: Checklist) -> bool | None:
    """Compare the method's source with the record's: another one is no fault of the numbers, and is said."""
    with found.trying(PART, "method"):
        if run.entry.source == run.record.method.source:
            found.add(PART, "method", "ok", f"{run.record.method.name} of {run.entry.origin}, unchanged")
            return True
        changed = f"{run.record.method.name}: the method's file ({run.entry.origin}) was changed since the run"
        found.add(PART, "method", "note", f"{changed}; its encoder is scored with the file as it is now")
        return False
    return None


def _check_manifest(run: RecordedRun, found: Checklist) -> None:
    name, record = "encoder's manifest", run.record
    with found.trying(PART, name):
        said, wrong = run.manifest, []
        if said["method"] != record.method.name:
            wrong.append(f"it is of {said['method']}, the record of {record.method.name}")
        if said["config"] != dict(record.method.config):
            keys = sorted({*said["config"], *record.method.config})
            others = [key for key in keys if said["config"].get(key) != record.method.config.get(key)]
            wrong.append(f"other hyper-parameters than in the record: {', '.join(others)}")
        # The weights of a training-free method are the backbone's, wherever that was.
        if record.training_address is not None and record.training_address not in str(said["weights"]):
            wrong.append(f"it names the weights {said['weights']}, the record the stage {record.training_address}")
        found.judge(PART, name, not wrong, "it names the record's method and weights", "; ".join(wrong))


def _check_weights(run: RecordedRun, found: Checklist) -> None:
    name, record = "encoder's weights", run.record
    with found.trying(PART, name):
        now = run.weights_hash
        if record.training_address is None:
            assert record.backbone is not None
            what = f"{run.weights.name} hashes to {now[:16]}…, the record's backbone is {record.backbone.address[:16]}…"
            found.judge(PART, name, now == record.backbone.address, "the backbone's files, unchanged", what)
            return
        stage = _stage_record(run)
        found.judge(
            PART,
            name,
            now == stage["weights"],
            f"unchanged since they were trained ({now[:16]}…)",
            f"they hash to {now[:16]}…, trained were {str(stage['weights'])[:16]}…: somebody changed them",
        )
        found.judge(
            PART,
            "encoder's stage",
            stage["address"] == record.training_address,
            f"it was trained as {record.training_address[:16]}…",
            f"it was trained as {str(stage['address'])[:16]}…, the record's is {record.training_address[:16]}…",
        )
        claimed = record.costs.stages[-1].costs
        keys = ("optimizer_steps", "real_tokens", "model_flops", "training_seconds")
        other = [key for key in keys if stage["costs"].get(key) != getattr(claimed, key)]
        found.judge(
            PART,
            "encoder's costs",
            not other,
            "the record claims what its last stage cost",
            f"{', '.join(other)} of the last stage are others in the record than where it was trained",
        )


def _stage_record(run: RecordedRun) -> dict[str, Any]:
    file = run.weights.parent / "stage.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        _ = found["weights"], found["address"], found["costs"].get
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem(f"{file} cannot be read: {error}", "Copy the stage's whole folder.") from error
    return dict(found)


def _check_backbone(run: RecordedRun, found: Checklist) -> None:
    record = run.record
    assert record.backbone is not None
    with found.trying(PART, "backbone"):
        now = files_hash(run.backbone)
        what = f"its files in {run.backbone} hash to {now[:16]}…, the record's to {record.backbone.address[:16]}…"
        found.judge(PART, "backbone", now == record.backbone.address, f"{record.backbone.name}, unchanged", what)


def _check_data(run: RecordedRun, kind: str, found: Checklist) -> None:
    """Choose the examples again from the data at hand, in the order of the seed."""
    with found.trying(PART, kind):
        then, now = run.record.data[kind], run.data(kind)
        found.judge(
            PART,
            kind,
            now.address == then.address,
            f"the same {then.unique:,} {KINDS[kind].noun} in the same order",
            f"the first {len(now):,} usable {KINDS[kind].noun} of {now.path} are others, or in another order: "
            f"{now.read:,} rows read and {sum(now.dropped.values()):,} dropped, in the record {then.read:,} and "
            f"{sum(then.dropped.values()):,}",
        )


def _check_stages(run: RecordedRun, same_source: bool | None, found: Checklist) -> None:
    """Compute every training address again from what the record says determines it."""
    name, record = "training addresses", run.record
    if same_source is False:
        found.add(PART, name, "unchecked", "they hash the method's source, which was changed since the run")
        return
    with found.trying(PART, name):
        assert record.backbone is not None
        at, expected = record.backbone.address, []
        for stage in run.method.stages():
            facts: dict[str, Any] = {
                "start": at,
                "data": record.data[stage.data].address if stage.data in record.data else "",
                "seed": record.seed,
                "precision": str(record.engine.get("precision")),
                "source": stage_source(stage),
            }
            prepared = preparation_address(stage, **facts)
            at = training_address(stage, **facts)
            expected += [at] if prepared is None else [prepared, at]
        claimed = [stage.address for stage in record.costs.stages]
        found.judge(
            PART,
            name,
            claimed == expected and at == record.training_address,
            "they follow from backbone, data, seed, precision, hyper-parameters and source",
            f"the record names {[each[:12] for each in claimed]}, of what it says follow {[e[:12] for e in expected]}",
        )


def _check_benchmark(run: RecordedRun, found: Checklist) -> None:
    with found.trying(PART, "benchmark"):
        then, now = run.record.benchmark.address, run.benchmark.address
        same = f"{run.record.benchmark.name}: the same {len(run.benchmark.tasks)} tasks and data"
        what = f"its data hash to {now[:16]}…, the record's to {then[:16]}…: a task has other data"
        found.judge(PART, "benchmark", now == then, same, what)
        named = {each.name: each.tasks for each in run.benchmark.average(run.record.task_scores())}
        claimed = {average.name: average.tasks for average in run.record.averages}
        found.judge(
            PART,
            "averages",
            {name: set(tasks) for name, tasks in named.items()} == {n: set(tasks) for n, tasks in claimed.items()},
            ", ".join(claimed) or "none, as the benchmark has it",
            f"the record has {', '.join(claimed) or 'none'}, the benchmark makes {', '.join(named) or 'none'}",
        )


def _encoder_address(run: RecordedRun) -> str:
    """Address of the encoder at hand, with the source that the record names."""
    if run.record.finished_model:
        return run.finished.address
    return encoder_address(run.weights_hash, run.method, run.record.method.source)


def _recorded_precision(run: RecordedRun) -> str:
    if run.record.finished_model:
        engine = run.engine("cpu", str(run.record.engine.get("precision", "auto")))
        return run.finished.precision(engine)
    return str(run.record.engine.get("precision"))


def _check_evaluation(run: RecordedRun, found: Checklist) -> None:
    """The address that the scores were written under, from the encoder at hand and the record's benchmark."""
    name, record = "evaluation address", run.record
    with found.trying(PART, name):
        now = evaluation_address(_encoder_address(run), record.benchmark.address, _recorded_precision(run))
        found.judge(
            PART,
            name,
            now == record.evaluation_address,
            "this encoder, on the record's benchmark, is what was scored",
            f"of the encoder at hand follows {now[:16]}…, the scores are of {str(record.evaluation_address)[:16]}…: it "
            "is not the encoder that was scored, or its hyper-parameters are others",
        )


def _check_run_address(run: RecordedRun, found: Checklist) -> None:
    """The end of the run's id."""
    name, record = "run address", run.record
    with found.trying(PART, name):
        if record.finished_model:
            address = str(record.evaluation_address)
        else:
            assert record.backbone is not None
            precision = str(record.engine.get("precision"))
            weights = record.training_address or record.backbone.address
            address = run_address(weights, run.method, record.method.source, record.benchmark.address, precision)
        tail = record.run.rpartition("-")[2]
        what = f"the run is called -{tail}, of what the record says follows -{address[:10]}"
        found.judge(PART, name, tail == address[:10], f"…{tail} follows from what the record says", what)
