from __future__ import annotations

import pytest

from benchmarks.overlap import HeldOutSentences, normalised

HELD_OUT = HeldOutSentences(["A man is playing a guitar.", "Straße – №5", "!!!", "A man is playing a guitar."])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man is playing a guitar.", "exact"),
        ("a MAN is  playing,\n a guitar", "normalised"),
        (" A man is playing a guitar. ", "normalised"),
        ("A_man-is playing a guitar", "normalised"),
        ("A man is playing a guitar", "normalised"),
        ("STRASSE no5", "normalised"),  # casefold: ß is ss; NFKC: № is No
        ("A man is playing the guitar.", None),
        ("A man is playing a guitar. He sings.", None),
        ("Aman is playing a guitar.", None),
        ("", None),
        ("!!!", "exact"),
        ("!!", None),
        ("...", None),
    ],
)
def test_match(text: str, expected: str | None) -> None:
    assert HELD_OUT.match(text) == expected


def test_len_counts_different_sentences() -> None:
    assert len(HELD_OUT) == 3
    assert len(HeldOutSentences(iter(()))) == 0


def test_normalised() -> None:
    assert normalised("  It's_5\u00a0o'clock… ﬁne, CAFÉ! ") == "it s 5 o clock fine café"
    assert normalised("cafe\u0301") == "café"
    assert normalised("—?!_") == ""


def test_one_string_is_not_many_sentences() -> None:
    with pytest.raises(TypeError, match="not one string"):
        HeldOutSentences("abc")
