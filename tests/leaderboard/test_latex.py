from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from leaderboard.comparable import Marks
from leaderboard.latex import escape, latex, latex_tables
from leaderboard.tables import Cell, Group, Head, Table
from tests.leaderboard.made_up import finished, record, untrained
from tests.leaderboard.small import pair
from tests.leaderboard.test_markdown import example

# Every character that means something to TeX, and some that pdflatex does not know.
NASTY = '100%_a & b#1 $x$ ^2 ~3 \\end{x} <y> |z| "q" `c` – −±×… †‡§¶ “e” é ł 你'

TABLE1 = r"""% Made by genembench from run records; made again, changes are lost.
% Needs \usepackage{booktabs,graphicx} and, with pdflatex, UTF-8 input (the default since 2018).
\begin{table}[t]
\centering
\small
\caption{Scores. Backbone: small-english (5,112,064 parameters). Benchmark: two. Metric: Spearman """ + (
    r"\ensuremath{\times}100 of the cosine. Budget: 2,000. Seeds: 1. In brackets: 95~\% intervals from 2,000 "
    "resamples of each task's pairs; with one seed they are test-pair uncertainty only: what another seed would change "
    r"""is not part of them. Rows without brackets have no predictions.}
\label{tab:table1}
\smallskip
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
\begin{tabular}{@{}lrrrr@{ }lr@{ }l@{}}
\toprule
Method & Vol. & A & B & \multicolumn{2}{c}{Mean(A,B)} & \multicolumn{2}{c}{Rank} \\
\midrule
\multicolumn{8}{@{}l}{\textit{Training-free}} \\
z & 0 & 30.00 & \underline{20.00} & 25.00 & {\scriptsize [20.0, 30.0]} & 3 & {\scriptsize (b)} \\
\midrule
\multicolumn{8}{@{}l}{\textit{Contrastive}} \\
a & 2,000 & \textbf{60.00} & \textbf{40.00} & \textbf{50.00} & {\scriptsize [48.0, 52.0]} & 1--2 & {\scriptsize (a)} \\
a-b & 2,000 & 50.00 & \textbf{40.00} & \underline{45.00} & {\scriptsize [43.0, 47.1]} & 1--2 & {\scriptsize (ab)} \\
\midrule
\multicolumn{8}{@{}l}{\textit{Finished models}} \\
x & -- & 90.00 & 90.00 & 90.00 & & -- & \\
\bottomrule
\end{tabular}}
"""
)
ABLATION = r"""\begin{tabular}{@{}lrrr@{ }lr@{ }lr@{}}
\toprule
Method & Vol. & FLOPs & \multicolumn{2}{c}{Mean(A,B)} & \multicolumn{2}{c}{Difference} & p \\
\midrule
\multicolumn{8}{@{}l}{\textit{a}} \\
a {\scriptsize (full)} & 2,000 & 2.00 T & 50.00 & {\scriptsize [48.0, 52.0]} & -- & & -- \\
a-b & 2,000 & 1.00 T & 45.00 & {\scriptsize [43.0, 47.1]} & \ensuremath{-}5.00 & """ + (
    r"""{\scriptsize [\ensuremath{-}6.50, \ensuremath{-}3.50] *} & \ensuremath{<}0.001 \\
\bottomrule
\end{tabular}}
\end{table}
"""
)


def check(text: str) -> None:
    """Balanced braces and environments, and as many cells in every line as the table has columns."""
    bare = re.sub(r"\\[{}%&]", "", "\n".join(line for line in text.splitlines() if not line.startswith("%")))
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    opened = re.findall(r"\\begin\{(.+?)\}", bare)
    assert re.findall(r"\\end\{(.+?)\}", bare) == opened[::-1]
    (columns,) = re.findall(r"\\begin\{tabular\}\{@\{\}(.+)@\{\}\}", bare)
    width = len(columns.replace("@{ }", ""))
    body = bare[bare.index(r"\toprule") : bare.index(r"\bottomrule")]
    for line in body.splitlines()[1:]:
        if line != r"\midrule":
            assert line.endswith(r"\\")
            spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert line.count("&") + 1 + sum(spans) - len(spans) == width, line


def test_the_whole_of_table_1() -> None:
    records, statistics = example()
    files = latex_tables(records, statistics=statistics)
    assert list(files) == ["table1.tex", "ablation.tex", "efficiency.tex"]
    assert files["table1.tex"].startswith(TABLE1)
    below = files["table1.tex"].removeprefix(TABLE1)
    assert below.startswith("\n\\smallskip\n\\parbox{\\linewidth}{\\footnotesize Bold is the best of a column, ")
    assert below.endswith(" at unknown cost: a reference, not a competitor.}\n\\end{table}\n")


def test_the_whole_of_the_ablation() -> None:
    records, statistics = example()
    assert latex_tables(records, statistics=statistics)["ablation.tex"].endswith(ABLATION)


def test_every_table_is_well_formed() -> None:
    records, statistics = example()
    many = [
        untrained(),
        finished(),
        *(record(name, seed=seed) for name in ("autoregembed", "llm2vec") for seed in (0, 1)),
    ]
    for files in (latex_tables(records, statistics=statistics), latex_tables(many, published="all")):
        for text in files.values():
            check(text)


def test_a_wide_table_spans_the_page_and_published_rows_have_footnotes() -> None:
    text = latex_tables([record("infonce-mean")])["table1.tex"]
    assert "\\begin{table*}[t]" in text
    assert "\\end{table*}" in text
    assert r"InfoNCE-mean, Llama-2-7b\textsuperscript{1} & 50,000 & 75.65" in text
    assert r"& 81.77 & 81.52\rlap{\textsuperscript{2}} & 79.88 \\" in text
    assert (
        "\\\\\n\\textsuperscript{1}~AutoRegEmbed paper (arXiv 2502.11401), Table 1 \\quad \\textsuperscript{2}~Not "
        "printed there: computed by us as the mean of the task scores printed there.}\n\\end{table*}\n"
    ) in text


def test_without_a_done_run_there_is_no_table() -> None:
    assert latex_tables([]) == {}
    assert latex_tables([pair("a", 0, 0, status="failed", reason="why")]) == {}
    assert list(latex_tables([pair("a", 1, 2)])) == ["table1.tex", "efficiency.tex"]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("50% of a_b & c #1 $", r"50\% of a\_b \& c \#1 \$"),
        ("^~\\{}", r"\textasciicircum{}\textasciitilde{}\textbackslash{}\{\}"),
        ("<|>", r"\ensuremath{<}\ensuremath{|}\ensuremath{>}"),
        ("1–2 −3 ± 4 × 5 †", r"1--2 \ensuremath{-}3 \ensuremath{\pm} 4 \ensuremath{\times} 5 \ensuremath{\dagger}"),
        ("a-b a--b ---", "a-b a-{}-b -{}-{}-"),
        ('"x" “y” ‘z’ `', r"''x'' ``y'' `z' \textasciigrave{}"),
        ("5 % of\nit", r"5~\% of it"),
        ("é ß ł", "é ß ł"),
        ("你", "[U+4F60]"),
    ],
)
def test_escaping(text: str, safe: str) -> None:
    assert escape(text) == safe


def test_a_name_cannot_break_a_line_or_a_caption() -> None:
    line = (Cell(f"[{NASTY}", raised="1"), Cell("1.00", "[0.9, 1.1] *"))
    table = Table("x", NASTY, (Head(NASTY, True), Head("n")), (Group(NASTY, (line, (Cell("*"), Cell("–")))),), (NASTY,),
                  (NASTY,), (NASTY,))  # fmt: skip
    text = latex(table)
    check(text)
    starts = [line.split(" & ")[0] for line in text.splitlines() if line.startswith("{}")]
    assert starts[0].startswith(r"{}[100\%\_a \&")
    assert starts[1] == "{}*"


def has_latex() -> bool:
    if not shutil.which("pdflatex") or not shutil.which("kpsewhich"):
        return False
    return (
        subprocess.run(["kpsewhich", "booktabs.sty", "graphicx.sty"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has_latex(), reason="needs pdflatex with booktabs and graphicx")
def test_pdflatex_takes_every_table(tmp_path: Path) -> None:
    records, statistics = example()
    marks = Marks({"b_2-2000-s0": "†"}, {"†": f"differs in {NASTY}"})
    named = [pair("a", 1, 2, config={"prompt": NASTY}), pair("a", 1, 2, config={"prompt": "x"}), pair("b_2", 1, 2)]
    files = [
        latex_tables(records, statistics=statistics),
        latex_tables(named, marks=marks),
        latex_tables([record("llm2vec")]),
    ]
    texts = [text for each in files for text in each.values()]
    for at, text in enumerate(texts):
        (tmp_path / f"{at}.tex").write_text(text, encoding="utf-8")
    inputs = "\n".join(f"\\input{{{at}}}" for at in range(len(texts)))
    packages = "\\usepackage{booktabs,graphicx}"
    document = f"\\documentclass[twocolumn]{{article}}\n{packages}\n\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    (tmp_path / "all.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    log = (tmp_path / "all.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    assert "Missing character" not in log
