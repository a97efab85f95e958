#!/usr/bin/env bash
# Test and measure the suite on a GPU: one command, at most 9 minutes, no network.
#
#   bash benchmarks/gpu_day.sh [--device cuda|cpu] [STEP ...]
#
# Needs Python 3.11 or newer and torch. Other packages come from wheels in .whl/, if there are any:
# they are installed once, into .gpu/site-packages. Else they must be installed. Data come from
# .gpu/data (DATA=FOLDER for another place). benchmarks/gpu_pack.sh collects both on a machine with a
# network.
#
# Each step has a time limit, and writes OUT/NN-STEP.log and its tables (OUT=gpu_day by default). A
# step that fails does not stop the others. OUT/table.md, also printed last, has a line for each
# step: seconds, status, main numbers. The exit status is 1 if a step failed.
#
# STEP: only these steps; the step `resnet` (the yardstick with a ResNet-18) is for a second call.
# --device cpu: small sizes, to see that the script works.
#
# To bring back few files:
#   OUT=/tmp/day bash benchmarks/gpu_day.sh; tar -czf day.tar.gz -C /tmp day
#
# shellcheck disable=SC2329  # steps call functions through `bash -c`
set -u
cd "$(dirname "$0")/.." || exit 1

LIMIT=535  # seconds of everything
device=cuda
if [ "${1:-}" = --device ]; then
  device=${2:-}
  shift 2
fi
case $device in
  cuda | cpu) ;;
  *) echo "--device: '$device' is not allowed; allowed: cuda, cpu" >&2; exit 2 ;;
esac
day=(facts tests study workers steps losses training)
wanted=("$@")
[ $# -gt 0 ] || wanted=("${day[@]}")
for name in "${wanted[@]}"; do
  case " ${day[*]} resnet " in
    *" $name "*) ;;
    *) echo "unknown step '$name'; allowed: ${day[*]} resnet" >&2; exit 2 ;;
  esac
done

OUT=${OUT:-gpu_day} DATA=${DATA:-.gpu/data}
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
site=$PWD/.gpu/site-packages  # its name tells dicebench that these are libraries
# Snakemake's rules call `python`; not every machine has it.
printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v python3)" > "$work/bin/python"
chmod +x "$work/bin/python"
export PATH="$work/bin:$PATH" PYTHONPATH="$site:$PWD${PYTHONPATH:+:$PYTHONPATH}"
export NO_ALBUMENTATIONS_UPDATE=1 CUBLAS_WORKSPACE_CONFIG=:4096:8
cores=$(nproc)
table=$OUT/table.md
printf '%s\n' "| step | s | status | numbers |" "|---|---|---|---|" > "$table"
number=0 failed=0

# Run a step: its name, its limit in seconds, its command. Then add it to the table.
step() {
  local name=$1 limit=$2 began=$SECONDS left log status code
  shift 2
  number=$((number + 1))
  [[ " wheels ${wanted[*]} " == *" $name "* ]] || return 0
  log=$OUT/$(printf '%02d' "$number")-$name.log
  left=$((LIMIT - SECONDS))
  limit=$((limit < left ? limit : left))
  if [ "$limit" -lt 5 ]; then
    echo "| $name | 0 | no time left | |" | tee -a "$table"
    failed=1
    return 0
  fi
  echo "$name: at most $limit s"
  timeout --kill-after=5 "$limit" "$@" > "$log" 2>&1 < /dev/null
  code=$?
  case $code in
    0) status=ok ;;
    124 | 137) status="cut off" failed=1 ;;
    *) status="exit status $code" failed=1 ;;
  esac
  {
    [ "$status" = ok ] || tail -n 1 "$log"
    numbers "$name" "$log"
  } | tr '|' ',' | cut -c 1-300 | head -n 8 > "$work/numbers"
  {
    echo "| $name | $((SECONDS - began)) | $status | $(sed -n 1p "$work/numbers") |"
    sed -n '2,$s/.*/| | | | & |/p' "$work/numbers"
  } | tee -a "$table"
}

# Print the main numbers of a step, from its log and its tables.
numbers() {
  case $1 in
    tests)
      grep -E '^[0-9]+ (passed|failed|skipped|error)' "$2"
      grep -E '^(FAILED|ERROR)' "$2" | head -n 5
      ;;
    losses) cat "$OUT"/losses-*.csv | loss_lines ;;
    training | resnet)
      grep -E 'runs/h$' "$2"
      grep -hE '^The scores' "$OUT/$(yardstick "$1").md"
      ;;
    study)
      study_lines results/gpu_day
      cp results/gpu_day/{runs,verdicts}.csv results/gpu_day/report.html "$OUT"
      ;;
    *) sed -n 's/^headline: //p' "$2" ;;
  esac 2> /dev/null
}

# Print the name of the yardstick's table of a step.
yardstick() {
  [ "$1" = resnet ] && echo "training-resnet-$device" || echo "training-$device"
}

# Print the number of runs of a study by status and device.
study_lines() {
  python - "$1" << 'END'
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
records = [json.loads(path.read_text()) for path in folder.glob("runs/**/run.json")]
count = {}
for record in records:
    captured = {True: ", captured", False: ", not captured"}.get(record.get("captured"), "")
    key = f"{record['status']} on {record['device']}{captured}"
    count[key] = count.get(key, 0) + 1
train = sum(record["seconds"].get("train", 0) for record in records)
print(f"runs: {'; '.join(f'{n} {key}' for key, n in count.items()) or 'none'}")
print(f"{train:.0f} s in training, over all workers")
print("a report" if (folder / "report.html").exists() else "no report")
END
}

# Print a line for some losses and shapes: our time, and that of others as a multiple of ours.
loss_lines() {
  python -c '
import csv, sys

lines = {}
for row in csv.DictReader(sys.stdin):
    key = row["shape"], row["loss"]
    gpu = row.get("device_ms") or ""
    if row["library"] == "ours":
        lines[key] = ["{} {}: {} ms{}".format(*key, row["ms"], gpu and f", {gpu} on the GPU")]
    elif row["library"] != "ours, indices":
        own = gpu and ", {}x".format(row["device_ratio"])
        lines[key].append("{} {}x{}".format(row["library"], row["ratio"], own))
for shape in ("16x1x512x512", "4x1x64x64"):
    for loss in ("dice", "cross_entropy"):
        if (shape, loss) in lines:
            print("; ".join(lines[shape, loss]))
'
}

# Install the wheels of .whl into a folder, unless it is there.
wheels() {
  if [ -d "$1" ]; then
    echo "headline: installed before"
  elif compgen -G '.whl/*.whl' > /dev/null; then
    rm -rf "$1.new"
    python3 -m pip install --no-index --no-deps --no-compile --target "$1.new" .whl/*.whl || return
    mv "$1.new" "$1"
    echo "headline: $(find .whl -name '*.whl' | wc -l) wheels"
  else
    echo "headline: no .whl/*.whl; the installed packages are used"
  fi
}

facts() {
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit,mig.mode.current --format=csv
  nproc
  free -g | head -n 2
  python -m benchmarks.gpu_facts --device "$1"
}

# A study from its configuration to the report.
study() {
  local device=$1 cores=$2 data=$3 out=$4 config=configs/public_small.yaml
  rm -rf results/gpu_day
  [ "$device" = cuda ] || config=$(small "$out")
  python -m snakemake --cores "$cores" --scheduler greedy --configfile "$config" \
    --config "mirror=$data" "device=$device" study=gpu_day
}

# Write the configuration of a study for a CPU; print its path.
small() {
  cat > "$1/small.yaml" << 'END'
datasets:
  wbc: {target: nucleus, train: 8, val: 4, test: 4}
  crackforest: {train: 8, val: 4, test: 4}
losses: {cross_entropy: {}, dice: {}}
experiments:
  noise: {knob: flips, values: [0, 0.3]}
seeds: 2
training:
  model_options: {encoder_depth: 3, decoder_channels: [32, 16, 8]}
  steps: 10
END
  echo "$1/small.yaml"
}
export -f wheels facts study small

fast=(
  dice squared_dice jaccard tversky generalized_dice dice_ce squared_dice_ce dice_focal
  cross_entropy label_smoothing focal
)
if [ "$device" = cuda ]; then
  losses=(--repeats 10 --only "${fast[@]}") steps=(--seconds 0.5) workers=(--workers 1 2 4 8)
  training=(--repeats 1 --runs 8 --single 1 --losses dice --cores 8)
  resnet=(--repeats 1 --runs 4 --single 1 --losses dice --cores 4)
else
  losses=(--repeats 1 --only dice) steps=(--seconds 0.1)
  workers=(--workers 1 2 --runs 8 --steps 20)
  training=(--repeats 1 --runs 2 --single 1 --losses dice)
  resnet=("${training[@]}" --size 64 --steps 10)
fi

step wheels 60 bash -c 'wheels "$@"' wheels "$site"
step facts 25 bash -c 'facts "$@"' facts "$device"
step tests 110 python -m pytest -q -rf -p no:cacheprovider -m gpu tests/gpu tests/test_check.py
step study 180 bash -c 'study "$@"' study "$device" "$cores" "$DATA" "$OUT"
step workers 80 python -m benchmarks.gpu_workers --device "$device" "${workers[@]}" --out "$OUT"
step steps 60 python -m benchmarks.gpu_steps --device "$device" "${steps[@]}" --out "$OUT"
step losses 50 python -m benchmarks.losses --device "$device" "${losses[@]}" --out "$OUT"
step training 170 python -m benchmarks.training --device "$device" "${training[@]}" --out "$OUT"
step resnet 500 python -m benchmarks.training --device "$device" --resnet "${resnet[@]}" --out "$OUT"

echo
head -n 40 "$table"
echo "$SECONDS s; everything is in $OUT"
exit "$failed"
