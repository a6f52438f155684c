"""The command ``genembench``: finds the sub-command and turns a `Problem` into two lines and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from genembench.problem import DISK, Problem, did_you_mean

COMMANDS = {
    "compare": ("runners.compare", "train methods on equal data from one backbone, score them and rank them"),
    "train": ("runners.train", "train one method and leave its encoder"),
    "evaluate": ("runners.evaluate", "score one encoder on the STS tasks, or on any MTEB tasks"),
    "leaderboard": ("leaderboard.command", "rebuild tables and figures from records, or pack records to publish them"),
    "verify": ("runners.verify", "check a run's record against its files, and score its encoder again"),
    "probe": ("runners.probe", "measure what using trained encoders costs: sentences per second, tokens per text"),
    "bench": ("runners.bench.command", "measure speed and memory, beside sentence-transformers and plain code"),
    "export": ("runners.export", "write a run's encoder as a sentence-transformers folder with a model card"),
    "reconstruct": ("runners.reconstruct", "decode from a trained run's compressed tokens: what do they remember?"),
    "pretrain": ("runners.pretrain", "pre-train a small Llama on text, to be a backbone"),
    "demo": ("runners.demo_files", "write the embedded demo's data as files, to look at"),
    "methods": ("runners.list_methods", "list the methods, or one method's hyper-parameters and presets"),
    "new-method": ("runners.new_method", "write a small working method to begin with"),
    "check": ("runners.check", "whether a method keeps the contract, and what to mend if not"),
    "doctor": ("runners.doctor", "what works on this machine, what is missing, and the command that mends it"),
}


def usage() -> str:
    """Say what there is, without importing any of it."""
    lines = ["usage: genembench COMMAND [options]", ""]
    lines += [f"  {name:<11} {summary}" for name, (_, summary) in COMMANDS.items()]
    lines += ["", "`genembench COMMAND --help` shows a command's options."]
    return "\n".join(lines)


def main() -> int:
    """Entry point of the console command."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"genembench {version('genembench')}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        meant = did_you_mean(name, COMMANDS)
        print(f"genembench: unknown command '{name}'. {meant}".rstrip() + f"\n{usage()}", file=sys.stderr)
        return 2
    return run_command(import_module(COMMANDS[name][0]).main, arguments[1:])


def run_command(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a sub-command; a user's mistake becomes a short message and exit code 2, an interruption 130."""
    try:
        return command(arguments)
    except Problem as problem:
        print(f"genembench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genembench: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Somebody closed the pipe we print to (`| head`); there is nobody left to tell.
        sys.stderr.close()
        return 1
    except OSError as error:
        if error.errno not in DISK:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"genembench: cannot write: {error.strerror}{where}", file=sys.stderr)
        print("  What is finished is kept: make room, then run the same command again.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
