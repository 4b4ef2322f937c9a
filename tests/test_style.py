"""The style as a test: each rule says what to do instead, and is shown to fail on code that breaks it.

What ruff, mypy and import-linter can check is not repeated here.
"""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("drivers", "journal", "models", "gateway", "hil_sim")
FUNCTION_LINES = 70  # fits one screen
MODULE_LINES = 400  # fits one reading

# library -> the only files that may import it, so that replacing or crashing it concerns one place
FENCES = {
    "duckdb": ("journal/*",),
    "llama_cpp": ("models/core_worker.py",),
    "onnxruntime": ("models/anomaly.py",),
    "onnx": ("models/training/*",),
    "pymodbus": ("drivers/modbus*.py", "hil_sim/modbus_plc.py"),
    "asyncua": ("drivers/opcua*.py", "hil_sim/opcua_plc.py"),
    "aiomqtt": ("drivers/mqtt.py", "hil_sim/ear.py"),
    "paho": ("drivers/mqtt.py",),
    "iotcore": ("hil_sim/broker.py",),
}
BROAD = {"Exception", "BaseException", "BaseExceptionGroup", "ExceptionGroup"}
WALL_CLOCKS = re.compile(r"datetime\.(datetime\.(now|utcnow|today)|date\.today)|time\.(time|time_ns|localtime|gmtime)")
NOT_REPLAYABLE = re.compile(
    r"asyncio\.(sleep|timeout|timeout_at|wait_for)|time\..*|random\..*|uuid\..*|secrets\..*|os\.urandom|numpy\.random\..*"
    r"|datetime\.(datetime\.(now|utcnow|today)|date\.today)"
)
QUEUES = re.compile(r"(asyncio|queue)\.(Queue|LifoQueue|PriorityQueue|SimpleQueue)")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplementedError)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|home|root|tmp)(/|\b)")


@dataclass(frozen=True)
class Module:
    """One source file: its path from the root and its text."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def lines(self) -> list[str]:
        return self.source.splitlines()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> list[tuple[int, str, str]]:
        """Line, dotted name and local name of everything imported, wherever in the file."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name, alias.asname or "") for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                found += [
                    (node.lineno, f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names
                ]
        return found

    @cached_property
    def names(self) -> dict[str, str]:
        """Local name to dotted name; `import a.b` binds only `a`."""
        return {
            local or name.partition(".")[0]: name if local else name.partition(".")[0]
            for _, name, local in self.imports
        }

    def full_name(self, node: ast.AST) -> str:
        """`dt.now` as `datetime.datetime.now` after `from datetime import datetime as dt`; empty for anything else."""
        if isinstance(node, ast.Attribute):
            owner = self.full_name(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, f"builtins.{node.id}")
        return ""

    def named(self, pattern: re.Pattern[str], within: ast.AST | None = None) -> Iterator[str]:
        for node in ast.walk(within or self.tree):
            if isinstance(node, ast.Attribute | ast.Name) and pattern.fullmatch(name := self.full_name(node)):
                yield f"{node.lineno}: {name}"

    def within(self, *patterns: str) -> bool:
        return any(fnmatch(self.path, pattern) for pattern in patterns)


def long_functions(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines"


def long_module(module: Module) -> Iterator[str]:
    if len(module.lines) > MODULE_LINES:
        yield f"1: {len(module.lines)} lines"


def no_docstring(module: Module) -> Iterator[str]:
    if ast.get_docstring(module.tree) is None:
        yield "1: no docstring"


def _caught(handler: ast.ExceptHandler) -> set[str]:
    if handler.type is None:
        return {"BaseException"}
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(node).rpartition(".")[2] for node in types}


def broad_excepts(module: Module) -> Iterator[str]:
    if module.within("gateway/supervisor.py", "gateway/__main__.py"):
        return
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and _caught(node) & BROAD and not isinstance(node.body[-1], ast.Raise):
            yield f"{node.lineno}: {ast.unparse(node).splitlines()[0]}"


def swallowed_cancellation(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if "CancelledError" in _caught(node) and not raises:
                yield f"{node.lineno}: caught and not raised again"


def suppressed_cancellation(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Call) and module.full_name(node.func) == "contextlib.suppress":
            suppressed = {ast.unparse(arg).rpartition(".")[2] for arg in node.args}
            if suppressed & {"CancelledError", *BROAD}:
                yield f"{node.lineno}: {ast.unparse(node)}"


def wall_clocks(module: Module) -> Iterator[str]:
    if not module.within("drivers/clock.py", "hil_sim/*"):  # the simulated plant lives in wall time, like the real one
        yield from module.named(WALL_CLOCKS)


def prints(module: Module) -> Iterator[str]:
    if not module.within("gateway/cli*", "gateway/demo*", "hil_sim/*"):
        yield from module.named(re.compile(r"builtins\.print"))


def fence_breaks(module: Module) -> Iterator[str]:
    for line, name, _ in module.imports:
        allowed = FENCES.get(name.partition(".")[0])
        if allowed and not module.within(*allowed):
            yield f"{line}: {name} may be imported by {' and '.join(allowed)} alone"


def unreplayable_bodies(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
            marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list]
            if any(ast.unparse(mark).rpartition(".")[2] == "workflow" for mark in marks):
                for statement in node.body:
                    yield from module.named(NOT_REPLAYABLE, statement)


def unbounded_queues(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Call) and QUEUES.fullmatch(name := module.full_name(node.func)):
            bounded = (node.args or node.keywords) and not name.endswith("SimpleQueue")
            if not bounded and "# bounded by" not in module.lines[node.lineno - 1]:
                yield f"{node.lineno}: {name}()"


def unfinished(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.lines, start=1):
        if found := UNFINISHED.search(line):
            yield f"{number}: {found[0]}"


def relative_imports(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{node.lineno}: {ast.unparse(node)}"


def machine_paths(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MACHINE_PATH.search(node.value):
            yield f"{node.lineno}: {node.value[:60]!r}"


@dataclass(frozen=True)
class Rule:
    """`check` yields 'line: what' for each breach; `bad` breaks the rule and `good` is what the rule asks for."""

    check: Callable[[Module], Iterator[str]]
    instead: str
    bad: str
    good: str
    path: str = "gateway/sample.py"


BODY = "    x = 1\n" * (FUNCTION_LINES - 1)
WORKFLOW = "from journal.engine import workflow, sleep, uuid\nimport asyncio, uuid as u\n@workflow('w', version=1)\n"
RULES = (
    Rule(
        long_functions,
        f"a function has at most {FUNCTION_LINES} lines: give a part of it a name of its own",
        bad=f"def f():\n{BODY}    return x\n",
        good=f"def f():\n{BODY}",
    ),
    Rule(
        long_module,
        f"a module has at most {MODULE_LINES} lines: split it by what its parts know",
        bad="x = 1\n" * (MODULE_LINES + 1),
        good="x = 1\n" * MODULE_LINES,
    ),
    Rule(
        no_docstring,
        "open with a docstring: what it turns into what, in which units, who calls it",
        bad="# a comment\nx = 1\n",
        good='"""Volts to amperes."""\n',
    ),
    Rule(
        broad_excepts,
        "catch what can happen here, by name; only the supervisor and __main__ outlive an unknown error. "
        "A broad handler may clean up if it ends by raising",
        bad="try:\n    f()\nexcept (OSError, Exception) as err:\n    log(err)\n",
        good="try:\n    f()\nexcept OSError:\n    pass\nexcept BaseException:\n    undo()\n    raise\n",
    ),
    Rule(
        suppressed_cancellation,
        "to await a task that you have cancelled, use asyncio.wait({task}): this also hides a cancellation of your own",
        bad="import asyncio\nfrom contextlib import suppress\nwith suppress(asyncio.CancelledError):\n    f()\n",
        good="from contextlib import suppress\nwith suppress(FileNotFoundError):\n    f()\n",
    ),
    Rule(
        swallowed_cancellation,
        "raise it again once you have cleaned up",
        bad="import asyncio\ntry:\n    f()\nexcept asyncio.CancelledError:\n    pass\n",
        good="import asyncio\ntry:\n    f()\nexcept asyncio.CancelledError:\n    close()\n    raise\n",
    ),
    Rule(
        wall_clocks,
        "take a Clock as a parameter and ask it; durations come from the loop's clock or time.monotonic",
        bad="from datetime import UTC, datetime as dt\nx = dt.now(UTC)\n",
        good="def f(clock):\n    return clock.now()\n",
    ),
    Rule(
        prints,
        "use logging; only the command line and the demo talk to a terminal",
        bad="print('x')\n",
        good="log.info('x')\n",
    ),
    Rule(
        fence_breaks,
        "use what the owner of the library offers; each library has one door",
        bad="def f():\n    import duckdb.typing\n",
        good="from journal import Journal\n",
    ),
    Rule(
        unreplayable_bodies,
        "a workflow body is replayed: take now, random, uuid, sleep and timeout from journal.engine, "
        "or put it in a checkpoint",
        bad=WORKFLOW + "async def w():\n    await asyncio.sleep(1)\n    return u.uuid4()\n",
        good=WORKFLOW + "async def w():\n    await sleep(1)\n    return uuid()\n",
    ),
    Rule(
        unbounded_queues,
        "give it a maxsize with a reason and count what it drops, or say on its line what else does: # bounded by ...",
        bad="import asyncio\nq = asyncio.Queue()\n",
        good="import asyncio\nq = asyncio.Queue(maxsize=8)\nr = asyncio.Queue()  # bounded by the number of assets\n",
    ),
    Rule(
        unfinished,
        "finish it, or file an issue",
        bad="def f():\n    raise NotImplemented" + "Error\n",
        good="def f():\n    return NotImplemented\n",
    ),
    Rule(
        relative_imports,
        "say where it comes from: import it by its full name",
        bad="from . import base\n",
        good="from drivers import base\n",
    ),
    Rule(
        machine_paths,
        "take the path from the configuration or from tempfile",
        bad="x = '/tmp/blackstart.duckdb'\n",
        good="x = 'https://example.org/homes'\n",
    ),
)


def tree() -> list[Module]:
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in files]


def orphans(modules: Sequence[Module]) -> set[str]:
    """Modules that no other one imports, nor names in full to start it as a process."""
    mentioned: set[str] = set()
    for module in modules:
        own = module.path.removesuffix(".py").replace("/", ".")
        texts = (node.value for node in module.nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
        for name in [*(name for _, name, _ in module.imports), *texts]:
            parts = name.split(".")
            mentioned |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)} - {own}
    paths = {module.path.removesuffix(".py") for module in modules}
    started_otherwise = {path for path in paths if path.endswith(("__init__", "__main__"))}
    return {path for path in paths - started_otherwise if path.replace("/", ".") not in mentioned}


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    return tree()


each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.check.__name__)


@each_rule
def test_our_code_keeps_the_rule(rule: Rule, modules: list[Module]) -> None:
    breaches = [f"{module.path}:{breach}" for module in modules for breach in rule.check(module)]
    assert not breaches, "\n".join([f"{rule.instead}:", *breaches])


@each_rule
def test_the_rule_can_fail(rule: Rule) -> None:
    assert list(rule.check(Module(rule.path, rule.bad)))
    assert not list(rule.check(Module(rule.path, rule.good)))


def test_every_module_is_used(modules: list[Module]) -> None:
    assert not orphans(modules), "import it from where it is wanted, or delete it"


def test_an_unused_module_is_seen() -> None:
    used, unused = Module("drivers/used.py", "import drivers.unused_not\n"), Module("drivers/unused.py", "")
    user = Module("gateway/__main__.py", "from drivers import used\nargs = ['-m', 'models.worker']\n")
    assert orphans([used, unused, user, Module("models/worker.py", "import models.worker\n")]) == {"drivers/unused"}


def test_the_folders_of_tests_are_no_packages() -> None:
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("__init__.py")]
    assert not found, f"delete {found}: tests/drivers/__init__.py would hide the real drivers"
