"""Which methods there are: files in `methods/`, installed plug-ins, and ``--method-file``; presets and overrides.

A broken plug-in is reported by `discover` and never breaks the others; two methods of one name are an error that names
both origins.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from genembench.problem import Problem, did_you_mean, unknown
from methods.contract import Method, Stage
from methods.ranges import check

ENTRY_POINT_GROUP = "genembench.methods"

M = TypeVar("M", bound=type[Method])


@dataclass(frozen=True)
class MethodEntry:
    """A registered name: a method class with the values that the name fixes, and where it came from."""

    name: str
    cls: type[Method]
    fixed: Mapping[str, Any]
    origin: str

    def create(self, preset: str = "paper", overrides: Mapping[str, Any] | None = None) -> Method:
        """Make the method: what the name fixes, over the overrides, over the preset, over the defaults.

        Raises:
            Problem: no such preset or hyper-parameter, a value of the wrong type or out of its range, or one that the
                name fixes.
        """
        presets = {"default": {}, **self.cls.presets}
        if preset not in presets:
            raise unknown(f"preset of {self.name}", preset, presets)
        overrides = overrides or {}
        fields = {f.name: f for f in dataclasses.fields(self.cls)}
        for key in overrides:
            if key not in fields:
                raise unknown(f"hyper-parameter of {self.name}", key, fields)
            if key in self.fixed:
                raise Problem(
                    f"{key} cannot be set on {self.name}: the name fixes it to {self.fixed[key]!r}",
                    f"Siblings of {self.name} differ in it; choose one of those.",
                )
        types = typing.get_type_hints(self.cls)
        given = {key: _typed(self.name, key, value, types[key]) for key, value in overrides.items()}
        from_preset = {key: hyper.value for key, hyper in presets[preset].items()}
        defaults: dict[str, Any] = {key: each.default for key, each in fields.items()}
        values = defaults | from_preset | dict(self.fixed) | given
        # A preset value may depend on the others (the paper's batch is 512 with in-batch negatives, else 32).
        settled = {key: value(values) if callable(value) else value for key, value in values.items()}
        check(self.name, self.cls, settled)
        return self.cls(**settled)

    @property
    def source(self) -> str:
        """Hash of the classes that make the method, by name and source file: its own, its bases', its stages'.

        The shared parts and the contract are not in it: `ENCODING_VERSION` and the trainer's version stand for them.
        """
        return _source(self.cls, *(type(stage) for stage in self.create("default").stages()))


def stage_source(stage: Stage) -> str:
    """Hash of the classes that make one stage: its method's and its own, not those of the stages beside it.

    So siblings that share a stage share what was trained, whatever else they train.
    """
    return _source(type(stage.method), type(stage))


def _source(*classes: type[Method] | type[Stage]) -> str:
    digest = hashlib.sha256()
    for cls in classes:
        for base in cls.__mro__:
            # Two classes of one file are two methods, so the name counts as well as the file.
            if issubclass(base, Method | Stage) and base not in (Method, Stage):
                digest.update(f"{base.__qualname__}\0".encode())
                digest.update(Path(inspect.getfile(base)).read_bytes())
    return digest.hexdigest()


@dataclass
class Registry:
    """Names to methods. ``broken`` holds (origin, reason) of what could not be loaded."""

    entries: dict[str, MethodEntry] = field(default_factory=dict)
    broken: list[tuple[str, str]] = field(default_factory=list)

    def add(self, entry: MethodEntry) -> None:
        """Add an entry.

        Raises:
            Problem: the name is taken by another origin.
        """
        taken = self.entries.get(entry.name)
        if taken is not None and taken.origin != entry.origin:
            raise Problem(
                f"two methods are called '{entry.name}': one from {taken.origin}, one from {entry.origin}",
                "Rename one of them (the name is the argument of @register).",
            )
        self.entries[entry.name] = entry

    def get(self, name: str) -> MethodEntry:
        """Look a method up.

        Raises:
            Problem: there is none of this name; near misses and broken plug-ins are named.
        """
        if name in self.entries:
            return self.entries[name]
        problem = unknown("method", name, self.entries)
        for origin, reason in self.broken:
            problem.hint += f"\n  Not loaded: {origin} ({reason})"
        raise problem


def register(name: str, **fixed: Any) -> Callable[[M], M]:
    """Register a method class under ``name``, with hyper-parameters that this name fixes. Stack it for siblings."""

    def decorate(cls: M) -> M:
        if not (isinstance(cls, type) and issubclass(cls, Method) and dataclasses.is_dataclass(cls)):
            raise TypeError(f"@register('{name}') belongs on a dataclass derived from Method, above @dataclass")
        for key in fixed:
            if key not in {f.name for f in dataclasses.fields(cls)}:
                raise TypeError(f"@register('{name}') fixes '{key}', which {cls.__name__} does not have")
        declared = cls.__dict__.get("_registered", ())
        cls._registered = (*declared, (name, fixed))  # type: ignore[attr-defined]
        return cls

    return decorate


def _declared(module: ModuleType) -> Iterable[tuple[str, type[Method], dict[str, Any]]]:
    for value in vars(module).values():
        # Only classes that this module defines: an imported base class is its own module's business.
        if isinstance(value, type) and value.__module__ == module.__name__:
            for name, fixed in value.__dict__.get("_registered", ()):
                yield name, value, fixed


def discover(method_files: Iterable[Path] = ()) -> Registry:
    """Find every method: the files of this folder, entry points of ``genembench.methods``, then ``method_files``.

    Raises:
        Problem: a name registered twice, or a method file that cannot be loaded (the user asked for that one).
    """
    registry = Registry()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem != "__init__":
            _add_module(registry, importlib.import_module(f"methods.{path.stem}"), f"methods/{path.name}")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        origin = f"plug-in {point.value}" + (f" of {point.dist.name}" if point.dist else "")
        try:
            loaded = point.load()
            module = loaded if isinstance(loaded, ModuleType) else sys.modules[loaded.__module__]
        except Exception as error:  # a stranger's code may raise anything, and must not take the others with it
            registry.broken.append((origin, f"{type(error).__name__}: {error}"))
            continue
        _add_module(registry, module, origin)
    for file in method_files:
        _add_module(registry, load_method_file(file), str(file.resolve()))
    return registry


def _add_module(registry: Registry, module: ModuleType, origin: str) -> None:
    for name, cls, fixed in _declared(module):
        registry.add(MethodEntry(name, cls, fixed, origin))


def load_method_file(path: Path) -> ModuleType:
    """Import a user's method file under a name of its own.

    Raises:
        Problem: it does not exist, raises while it is imported, or registers nothing.
    """
    if not path.is_file():
        raise Problem(f"--method-file {path}: no such file", "Give the path of a Python file that registers a method.")
    name = f"genembench_method_file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Problem(f"--method-file {path}: not a Python file", "Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickle look the module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises is the user's to mend, with its own line
        del sys.modules[name]
        line = _line_in(error, path)
        raise Problem(f"--method-file {path}{line}: {type(error).__name__}: {error}", "Mend the file.") from error
    if not list(_declared(module)):
        raise Problem(f"--method-file {path} registers no method", "Put @register('name') above a Method's @dataclass.")
    return module


def _line_in(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    trace, line = error.__traceback__, ""
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def parse_overrides(settings: Iterable[str], entries: Iterable[MethodEntry]) -> dict[str, dict[str, str]]:
    """Parse ``method.key=value`` settings into ``{method: {key: value}}``.

    ``*.key=value`` is for every method that has the hyper-parameter and whose name does not fix it.

    Raises:
        Problem: not of that form, for a method that does not take part, or ``*`` for what no method has.
    """
    free = {e.name: {f.name for f in dataclasses.fields(e.cls)} - set(e.fixed) for e in entries}
    chosen = list(free)
    parsed: dict[str, dict[str, str]] = {name: {} for name in chosen}
    for setting in settings:
        target, equals, value = setting.partition("=")
        method, dot, key = target.rpartition(".")
        if not (equals and dot and method and key):
            raise Problem(f"--set {setting}: not of the form method.key=value", "Example: --set infonce-mean.epochs=2")
        if method == "*":
            having = [name for name in chosen if key in free[name]]
            if not having:
                raise unknown(f"hyper-parameter in --set {setting}:", key, set().union(*free.values()))
            for name in having:
                parsed[name][key] = value
        elif method in parsed:
            parsed[method][key] = value
        else:
            raise Problem(
                f"--set {setting}: method '{method}' takes no part",
                f"{did_you_mean(method, chosen)}Taking part: {', '.join(chosen)}.",
            )
    return parsed


def _typed(method: str, key: str, value: Any, kind: Any) -> Any:
    """Read an override, given as text or as a value of a configuration file, as ``kind``."""
    wanted = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
    problem = Problem(
        f"{method}.{key}={value}: not a valid value",
        f"Allowed: {', '.join(map(repr, wanted)) if wanted else getattr(kind, '__name__', kind)}.",
    )
    if wanted is not None:
        if value not in wanted:
            raise problem
        return value
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if isinstance(value, bool):
            return value
        if str(value).casefold() not in words:
            raise problem
        return words[str(value).casefold()]
    if kind in (int, float, str):
        if isinstance(value, bool):
            raise problem
        try:
            return kind(value)
        except (TypeError, ValueError):
            raise problem from None
    return value
