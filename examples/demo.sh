#!/usr/bin/env bash
# The whole road on the packaged topics: train, export, shrink, verify, bench, report. usage: demo.sh FOLDER
set -euo pipefail
runs=${1:?usage: demo.sh FOLDER}

artifacts=()
for model in lstm transformer; do
  tfpipe train topics --run "$runs/$model" --model "$model" --resume --format text
  tfpipe export "$runs/$model" --scheme float32 --scheme dynamic_int8 --overwrite --format text
  for scheme in float32 dynamic_int8; do
    artifact="$runs/$model/exports/cpu-$scheme"
    tfpipe verify "$artifact" --format text
    artifacts+=("$artifact")
  done
done

# A smaller LSTM made of the trained one, trained on: three tenths of its units, a table of few columns.
tfpipe compress "$runs/lstm" --as small --shrink 0.7 --low-rank auto --epochs 10 --overwrite --format text
artifact="$runs/lstm/exports/small-cpu-dynamic_int8"
tfpipe export "$runs/lstm" --variant small --scheme dynamic_int8 --overwrite --format text
tfpipe verify "$artifact" --format text
artifacts+=("$artifact")

# One call: all five are measured in turn, so that a busy moment of the machine meets each of them.
tfpipe bench "${artifacts[@]}" --format text
tfpipe predict "$runs/lstm/exports/cpu-dynamic_int8" --format text \
  "a small bird with a red breast" "the capital and largest city of a country"
for model in lstm transformer; do
  tfpipe report "$runs/$model" --format text
  echo "open $runs/$model/report.html"
done
