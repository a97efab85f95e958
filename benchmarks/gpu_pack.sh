#!/usr/bin/env bash
# Collect what benchmarks/gpu_day.sh needs on a machine without a network: wheels in .whl/ and
# prepared datasets in .gpu/data/. Both folders are ignored by git.
#
#   bash benchmarks/gpu_pack.sh PRESENT [DATA] [PYTHON]
#
# PRESENT  a file with the packages that the machine has, one a line, as `pip list --format=freeze`
#          prints them there
# DATA     a folder of prepared datasets (README, "Datasets"): wbc, dsb2018 and crackforest are
#          copied; "" copies none
# PYTHON   Python's version on the machine, default 3.12
#
# The versions are those of requirements.txt, with MONAI for the benchmarks. Left out: packages in
# PRESENT, and two large ones that the day does without (`Snakemake --scheduler greedy` needs no
# PuLP; benchmarks.losses measures without Kornia).
set -euo pipefail
cd "$(dirname "$0")/.."

present=$1 data=${2:-} version=${3:-3.12}
extra='^(monai)$' without='^(pulp|kornia|kornia-rs|nvidia-.*)$'
datasets=(wbc dsb2018 crackforest)

mkdir -p .whl
rm -f .whl/*.whl .whl/*.tar.gz
needed=$(mktemp)
trap 'rm -f "$needed"' EXIT
# Pins with their hashes; `wanted` holds for the lines of one package.
awk -v extra="$extra" -v without="$without" '
  FILENAME == ARGV[1] { sub(/[ =@].*/, ""); gsub(/[._]/, "-"); present[tolower($0)]; next }
  /^[a-z]/ {
    name = $0; sub(/==.*/, "", name)
    dev = FILENAME ~ /-dev/
    wanted = !(name in present) && name !~ without && (!dev || name ~ extra)
  }
  /^ *#/ { next }
  wanted
' "$present" requirements.txt requirements-dev.txt > "$needed"

platforms=()
for tag in manylinux_2_34 manylinux_2_28 manylinux_2_17 manylinux2014 manylinux_2_12 manylinux2010; do
  platforms+=(--platform "${tag}_x86_64")
done
python3 -m pip download --quiet --no-deps --require-hashes --requirement "$needed" --dest .whl \
  --python-version "$version" --implementation cp "${platforms[@]}"
for archive in .whl/*.tar.gz; do  # packages without a wheel: plain Python
  [ -e "$archive" ] || continue
  python3 -m pip wheel --quiet --no-deps --wheel-dir .whl "$archive"
  rm "$archive"
done

if [ -n "$data" ]; then
  for name in "${datasets[@]}"; do
    rm -rf ".gpu/data/$name"
    mkdir -p ".gpu/data/$name"
    cp -r "$data/$name/." ".gpu/data/$name"
  done
  chmod -R u+w .gpu/data
fi
du -sh .whl .gpu/data 2> /dev/null || true
