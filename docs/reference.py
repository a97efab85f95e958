"""Write the parts of the documentation that come from the code: ``python -m docs.reference``.

The tables between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in README.md and in the pages of docs/,
and the JSON schema of a configuration for editors, ``docs/config.schema.json``.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from analysis.steps import STEPS as ANALYSIS
from docs import results_page, studies
from experiments.plan.config import Training, schema
from experiments.plan.knobs import KNOBS
from experiments.steps import STEPS as EXPERIMENTS

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "docs" / "config.schema.json"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def knobs() -> Iterator[str]:
    """Yield the table of the knobs."""
    yield "| knob | meaning | acts on |"
    yield "|---|---|---|"
    for name, knob in KNOBS.items():
        scope = {"objects": "every split", "images": "every image", "labels": "training labels"}
        only = {knob.generated_only: "generated images", knob.windows_only: "a dataset's images"}
        where = only.get(True, scope[knob.acts_on])
        yield f"| `{name}` | {knob.doc} | {where} |"


def training() -> Iterator[str]:
    """Yield the table of the training fields."""
    yield "| field | meaning | default |"
    yield "|---|---|---|"
    for name, field in Training.model_fields.items():
        default = Training().model_dump()[name]
        default = default["name"] if isinstance(default, dict) and "name" in default else default
        yield f"| `{name}` | {field.description} | `{json.dumps(default)}` |"


def steps() -> Iterator[str]:
    """Yield the table of the steps: the first sentence of the docstring of each step's code."""
    yield "| step | work |"
    yield "|---|---|"
    for package, named in (("experiments", EXPERIMENTS), ("analysis", ANALYSIS)):
        for name, place in named.items():
            yield f"| `python -m {package} {name}` | {work(place)} |"


def work(place: str) -> str:
    """Return the work of a step from its code, ``module`` or ``module:function``."""
    module, _, function = place.partition(":")
    node = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    if function:
        node = next(n for n in node.body if getattr(n, "name", None) == function)
    first = ast.get_docstring(node).partition("\n\n")[0]
    text = re.sub(r"^Steps? [^:]+: ", "", " ".join(first.split()))
    return text[0].upper() + text[1:]


TABLES = {
    "answer": results_page.answer,
    "knobs": knobs,
    "training": training,
    "steps": steps,
    "studies": studies.table,
}
"""Name of a table or list in the pages -> its lines."""


def filled(text: str) -> str:
    """Return a page with its tables renewed."""
    for name, lines in TABLES.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if pattern.search(text):
            table = "\n".join(lines())
            text = pattern.sub(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
    return text


def schema_text() -> str:
    """Return the JSON schema as the file holds it."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    for page in PAGES:
        if (text := page.read_text()) != (new := filled(text)):
            page.write_text(new)
    SCHEMA.write_text(schema_text())
