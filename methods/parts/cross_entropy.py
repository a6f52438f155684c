"""Cross-entropy of a block of logits, position by position: by torch, or by Liger's fused kernel.

The runner opens a choice around what it builds, and a `Head` keeps what was chosen when it was made. Looking the choice
up where logits are computed would be wrong: on a GPU, blocks are computed again in the backward pass, by a thread of
torch's own, and no context variable reaches that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, tanh
from torch.nn import functional

CrossEntropy = Callable[[Tensor, Tensor, float | None], Tensor]
"""From float32 logits ``[N, V]`` that nobody else needs, ids ``[N]`` and a soft cap, or None, to nats ``[N]``."""


def soft_capped(logits_NV: Tensor, softcap: float | None) -> Tensor:
    """Squeeze logits smoothly into (-softcap, softcap); None or 0 leaves them as they are."""
    return tanh(logits_NV / softcap) * softcap if softcap else logits_NV


def by_torch(logits_NV: Tensor, ids_N: Tensor, softcap: float | None) -> Tensor:
    """Cap, log-softmax and loss, one after the other."""
    return functional.cross_entropy(soft_capped(logits_NV, softcap), ids_N, reduction="none")


def by_liger(logits_NV: Tensor, ids_N: Tensor, softcap: float | None) -> Tensor:
    """All of it and the gradient in one kernel, which writes the gradient over the logits (arXiv 2410.10989).

    The kernel returns losses in the logits' own precision, so they have to be float32. Its fused *linear* cross-entropy
    is not used: without a reduction it computes the logits again in the backward pass, a matrix product more than
    `Head` needs with a frozen head and as many with a trained one, and it takes the weight past the head's module,
    whose hooks gather it under ZeRO-3.
    """
    if not len(ids_N):
        return by_torch(logits_NV, ids_N, softcap)  # the kernel's own checks fail without positions
    # It imports transformers' models and compiles: seconds that only who asked for it pays.
    from liger_kernel.transformers.functional import liger_cross_entropy

    # The kernel takes no whole number for a cap.
    loss_N: Tensor = liger_cross_entropy(
        logits_NV, ids_N, reduction="none", softcap=float(softcap) if softcap else None
    )
    return loss_N


KERNELS: dict[str, CrossEntropy] = {"torch": by_torch, "liger": by_liger}
"""By the name that the command line knows them by."""

_chosen: ContextVar[str] = ContextVar("cross_entropy", default="torch")


@contextmanager
def computing_by(kernel: str) -> Iterator[None]:
    """Let heads that are made inside compute by this one of `KERNELS`."""
    token = _chosen.set(kernel)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen() -> CrossEntropy:
    """Return what a head that is made now computes by."""
    return KERNELS[_chosen.get()]
