"""Write the parts of the documentation that come from the code: ``python -m docs.reference``.

The README's tables between ``<!-- NAME -->`` and ``<!-- /NAME -->``, and the JSON schema of a
configuration for editors, ``docs/config.schema.json``.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from experiments.plan.config import Training, schema
from experiments.plan.knobs import KNOBS

ROOT = Path(__file__).parents[1]
README, SCHEMA = ROOT / "README.md", ROOT / "docs" / "config.schema.json"


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


TABLES = {"knobs": knobs, "training": training}
"""Name of a table in the README -> its lines."""


def readme(text: str) -> str:
    """Return the README with its tables renewed; ValueError if one has no place in it."""
    for name, lines in TABLES.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        table = "\n".join(lines())
        text, count = pattern.subn(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
        if count != 1:
            raise ValueError(f"README: {count} places for the table {name!r}; allowed: one")
    return text


def schema_text() -> str:
    """Return the JSON schema as the file holds it."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    README.write_text(readme(README.read_text()))
    SCHEMA.write_text(schema_text())
