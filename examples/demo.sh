#!/usr/bin/env bash
# The whole road on the packaged topics: train, export, verify, bench, report. usage: demo.sh FOLDER
set -euo pipefail
runs=${1:?usage: demo.sh FOLDER}

artifacts=()
for model in lstm transformer; do
  tfpipe train topics --run "$runs/$model" --model "$model" --resume --format text
  for scheme in float32 dynamic_int8; do
    artifact="$runs/$model/exports/cpu-$scheme"
    tfpipe export "$runs/$model" --scheme "$scheme" --overwrite --format text
    tfpipe verify "$artifact" --format text
    artifacts+=("$artifact")
  done
done

# One call: all four are measured in turn, so that a busy moment of the machine meets each of them.
tfpipe bench "${artifacts[@]}" --format text
tfpipe predict "$runs/lstm/exports/cpu-dynamic_int8" --format text \
  "a small bird with a red breast" "the capital and largest city of a country"
for model in lstm transformer; do
  tfpipe report "$runs/$model" --format text
  echo "open $runs/$model/report.html"
done
