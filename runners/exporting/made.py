"""What is known of an encoder that is being exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from methods.contract import Method, Role
from runners.exporting.source import Source
from runners.exporting.templated_transformer import Reading


@dataclass(frozen=True, kw_only=True)
class Made:
    """What is known of an exported encoder.

    Attributes:
        source: Where it comes from.
        name: The method's name.
        method: The method with its hyper-parameters.
        address: The encoder's address.
        tokenizer: Its tokenizer.
        readings: How it reads texts of each role.
        pooling: The library's name for its pooling.
        dimension: Numbers in a vector.
        parameters: Weights.
    """

    source: Source
    name: str
    method: Method
    address: str
    tokenizer: PreTrainedTokenizerBase
    readings: Mapping[Role, Reading]
    pooling: str
    dimension: int
    parameters: int

    @property
    def title(self) -> str:
        """Method and, where it is known, backbone."""
        record = self.source.record
        return f"{self.name} on {record.backbone.name}" if record and record.backbone else self.name
