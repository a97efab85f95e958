"""Bring a study's runs together: `python -m experiments.collect CONFIG runs.csv records.json`."""

import argparse
import json

from experiments import results
from experiments.files import write_whole
from experiments.plan import Study


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the study's configuration as JSON")
    parser.add_argument("table")
    parser.add_argument("records")
    args = parser.parse_args()
    study = Study.read(args.config)
    try:
        table, records = results.collect(study)
    except results.RecordError as error:
        raise SystemExit(f"dicebench: {error}") from None
    write_whole(args.table, table.to_csv(index=False))
    write_whole(args.records, json.dumps(records, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
