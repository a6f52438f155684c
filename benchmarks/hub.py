"""Whether the Hugging Face hub answers, found out in one question instead of minutes of retries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genembench.problem import Problem

if TYPE_CHECKING:
    from mteb import AbsTask


def hub_out_of_reach(timeout: float = 5.0) -> str:
    """Ask the hub once whether it is there; any answer will do.

    Args:
        timeout: Seconds to wait.

    Returns:
        Why it is out of reach; empty if it answers.
    """
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and the cache does not have it"
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=timeout)
    except Exception as error:  # Its kind depends on the HTTP library that the hub's client uses.
        return f"{constants.ENDPOINT} is out of reach ({error})"
    return ""


@contextmanager
def hub_or_cache() -> Iterator[str]:
    """Have the Hugging Face libraries use their caches at once if the hub is out of reach.

    Left to themselves they try again for 20 seconds per file before they look into the cache.

    Yields:
        Why the hub is out of reach; empty if it answers.
    """
    import datasets.config
    from huggingface_hub import constants

    before = (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    reason = hub_out_of_reach()
    if reason:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield reason
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def load_from_hub(task: AbsTask) -> None:
    """Have mteb load a task's data from the hub or its cache.

    Raises:
        Problem: It could not, for whatever reason.
    """
    with hub_or_cache() as unreachable:
        try:
            task.load_data()
        except Exception as error:  # Whatever the hub, the network and three libraries between come up with.
            reason = unreachable or f"{type(error).__name__}: {error}"
            raise Problem(
                f"could not load task {task.metadata.name} from the hub: {reason}",
                "With --data-dir FOLDER the STS tasks are read from <Task>.test.jsonl[.gz] files instead.",
            ) from error
