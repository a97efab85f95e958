"""Size, shape and wording of the project's own code, now and at an earlier commit.

    python -m benchmarks.code [--rev REV] [--out docs/benchmarks]

Counts Python files by package with ast and tokenize. Writes OUT/code.md and prints the tables.
With --rev each cell reads "commit -> now"; the commit is read from git, without a checkout.

Prose: docstrings, strings that document an attribute, and comments. Rates are per 1,000 words.
A function's lines include its docstring, not its decorators. Its parameters include keyword-only
ones, `*args` and `**kwargs` (one each), but not self or cls; the keyword-only options of a loss's
`__init__` are not counted. The share of annotated parameters leaves out `*args`, `**kwargs` and
every function with a leading underscore in its dotted name (`__init__` and its like are public).
Now includes files that are not yet committed.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("losses", "experiments", "analysis", "benchmarks", "tests", "docs")

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 6
"""Largest sizes allowed of a file, a function and a function's parameters."""
RELATIVES = 2
"""Most uses of "what" and "whose" allowed per 1,000 words."""

RELATIVE = re.compile(r"\b(what(ever)?|whose)\b", re.IGNORECASE)
ARCHAIC = re.compile(
    r"\b(told|tells?|stands?|stood|beside|said|says?|lies?|bears?|held|anew|asked)\b", re.IGNORECASE
)
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
OPENING = re.compile(r"\W*(what|whether|where|which)\b", re.IGNORECASE)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Named = Function | ast.ClassDef


def functions(tree: ast.Module) -> Iterator[tuple[str, Function, bool]]:
    """Yield (dotted name, function, True if it is a method), nested ones included."""

    def visit(node: ast.AST, path: tuple[str, ...], in_class: bool) -> Iterator:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Named):
                name = (*path, child.name)
                if isinstance(child, Function):
                    yield ".".join(name), child, in_class
                yield from visit(child, name, isinstance(child, ast.ClassDef))
            else:
                yield from visit(child, path, in_class)

    yield from visit(tree, (), False)


def parameters(function: Function, method: bool) -> list[ast.arg]:
    """Return the positional parameters, without self or cls."""
    positional = [*function.args.posonlyargs, *function.args.args]
    static = any(getattr(d, "id", "") == "staticmethod" for d in function.decorator_list)
    return positional[int(method and not static) :]


def documentation(tree: ast.Module) -> list[ast.Constant]:
    """Return the strings that are statements: docstrings and documented attributes."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


@dataclass(frozen=True)
class Source:
    """One Python file.

    path: relative to the root of the project. text: its content.
    """

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.text.splitlines())

    @cached_property
    def comments(self) -> list[tokenize.TokenInfo]:
        """Comments, without a licence at the head of the file."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        comments = [t for t in tokens if t.type == tokenize.COMMENT]
        head = 0
        while head < len(comments) and comments[head].start == (head + 1, 0):
            head += 1
        licence = re.search(
            "copyright|licen[cs]e|spdx", " ".join(c.string for c in comments[:head]), re.I
        )
        return comments[head:] if licence else comments

    @cached_property
    def documented(self) -> set[int]:
        """Numbers of the lines that hold a docstring or an attribute's description."""
        nodes = documentation(self.tree)
        return {row for n in nodes for row in range(n.lineno, (n.end_lineno or n.lineno) + 1)}

    @cached_property
    def commented(self) -> set[int]:
        """Numbers of the lines that hold nothing but a comment."""
        return {c.start[0] for c in self.comments if not c.line[: c.start[1]].strip()}

    @cached_property
    def code_lines(self) -> int:
        """Number of lines that are neither blank nor prose."""
        filled = {i for i, line in enumerate(self.text.splitlines(), 1) if line.strip()}
        return len(filled - self.documented - self.commented)

    @cached_property
    def prose(self) -> list[tuple[int, str]]:
        """(line, text) of each docstring, description of an attribute and comment."""
        texts = [(node.lineno, node.value) for node in documentation(self.tree)]
        return texts + [(c.start[0], c.string.lstrip("#")) for c in self.comments]

    @cached_property
    def words(self) -> int:
        """Number of words of prose."""
        return sum(len(WORD.findall(text)) for _, text in self.prose)

    def mentions(self, pattern: re.Pattern) -> list[str]:
        """Return the matches of a pattern in the prose, as "path:line match"."""
        return [
            f"{self.path}:{line + text.count(chr(10), 0, match.start())} {match[0]}"
            for line, text in self.prose
            for match in pattern.finditer(text)
        ]

    @cached_property
    def long_functions(self) -> list[str]:
        """Functions with more than FUNCTION_LINES lines, as "path:line name lines"."""
        rows = []
        for name, function, _ in functions(self.tree):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > FUNCTION_LINES:
                rows.append(f"{self.path}:{function.lineno} {name} {lines}")
        return rows

    @cached_property
    def wide_functions(self) -> list[str]:
        """Functions with more than PARAMETERS parameters, as "path:line name parameters"."""
        rows = []
        for name, function, method in functions(self.tree):
            count = len(parameters(function, method))
            count += sum(star is not None for star in (function.args.vararg, function.args.kwarg))
            if not (self.path.startswith("losses/") and function.name == "__init__"):
                count += len(function.args.kwonlyargs)
            if count > PARAMETERS:
                rows.append(f"{self.path}:{function.lineno} {name} {count}")
        return rows

    @cached_property
    def public(self) -> list[bool]:
        """For each public parameter: True if it is annotated."""
        return [
            argument.annotation is not None
            for name, function, method in functions(self.tree)
            if not re.search(r"(^|\.)_(?!_)", name)
            for argument in [*parameters(function, method), *function.args.kwonlyargs]
        ]


def now() -> list[Source]:
    """Return the Python files of the working tree."""
    paths = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
    return [Source(p.relative_to(ROOT).as_posix(), p.read_text(encoding="utf-8")) for p in paths]


def at(rev: str) -> list[Source]:
    """Return the Python files of a commit.

    Raises subprocess.CalledProcessError if git does not know the commit.
    """

    def git(*arguments: str, stdin: bytes = b"") -> bytes:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout

    listed = git("ls-tree", "-r", "-z", "--name-only", rev, "--", *PACKAGES).decode()
    paths = [path for path in listed.split("\0") if path.endswith(".py")]
    output = git("cat-file", "--batch", stdin="".join(f"{rev}:{p}\n" for p in paths).encode())
    sources, start = [], 0
    for path in paths:
        body = output.index(b"\n", start) + 1
        size = int(output[start:body].split()[2])
        sources.append(Source(path, output[body : body + size].decode()))
        start = body + size + 1
    return sources


def rate(sources: list[Source], pattern: re.Pattern) -> float:
    """Return the matches of a pattern per 1,000 words of prose."""
    words = sum(s.words for s in sources)
    return 1000 * sum(len(s.mentions(pattern)) for s in sources) / max(words, 1)


def percent(flags: list[bool]) -> str:
    """Return the share of true flags as text; "-" without flags."""
    return f"{100 * sum(flags) / len(flags):.0f}%" if flags else "-"


def measures(sources: list[Source]) -> dict[str, str]:
    """Return the table's values of one package, by name."""
    opening = [bool(OPENING.match(n.value)) for s in sources for n in documentation(s.tree)]
    return {
        "files": str(len(sources)),
        "lines": str(sum(s.lines for s in sources)),
        "lines of docstrings and comments": str(
            sum(len(s.documented | s.commented) for s in sources)
        ),
        "lines of code": str(sum(s.code_lines for s in sources)),
        f"files over {FILE_LINES} lines": str(sum(s.lines > FILE_LINES for s in sources)),
        f"functions over {FUNCTION_LINES} lines": str(sum(len(s.long_functions) for s in sources)),
        f"functions over {PARAMETERS} parameters": str(sum(len(s.wide_functions) for s in sources)),
        "annotated public parameters": percent([flag for s in sources for flag in s.public]),
        '"what", "whose" per 1,000 words': f"{rate(sources, RELATIVE):.1f}",
        '"told", "stands", "beside", "said", ... per 1,000 words': f"{rate(sources, ARCHAIC):.1f}",
        'docstrings that open with "what", "whether", "where", "which"': percent(opening),
    }


def by_package(sources: list[Source]) -> dict[str, list[Source]]:
    """Return the files of each package."""
    return {name: [s for s in sources if s.path.startswith(f"{name}/")] for name in PACKAGES}


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Return a Markdown table of columns, each a mapping from a row's name to its value."""
    rows = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name in next(iter(columns.values())):
        rows.append(f"| {name} | {' | '.join(column[name] for column in columns.values())} |")
    return "\n".join(rows)


def report(rev: str | None = None) -> str:
    """Return the Markdown page: the table, then every file and function over a limit."""
    sources = now()
    columns = {name: measures(files) for name, files in by_package(sources).items()}
    title = "Measured by `python -m benchmarks.code`."
    if rev:
        title = f"Measured by `python -m benchmarks.code --rev {rev}`: commit {rev} → now."
        for name, files in by_package(at(rev)).items():
            before = measures(files)
            columns[name] = {
                row: f"{before[row]} → {value}" for row, value in columns[name].items()
            }
    over = [f"{s.path} {s.lines}" for s in sources if s.lines > FILE_LINES]
    over += [line for s in sources for line in s.long_functions + s.wide_functions]
    limits = "\n".join(f"- `{line}`" for line in over) or "No file or function is over a limit."
    notes = (__doc__ or "").split("\n\n", 3)[3].strip()
    return f"# The code\n\n{title}\n\n{table(columns)}\n\n{notes}\n\n## Over a limit\n\n{limits}\n"


def main() -> None:
    """Print the page and write it to OUT/code.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rev", help="commit to compare with")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    arguments = parser.parse_args()
    page = report(arguments.rev)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "code.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
