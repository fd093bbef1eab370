#!/usr/bin/env bash
# Makes FOLDER/python3 and FOLDER/python3-tflite-runtime: an aarch64 Python 3.11 under QEMU's user
# mode with NumPy and ai-edge-litert 2.3.0, and the same with tflite-runtime 2.14.0 instead.
# Nothing is installed: packages of Debian 12 and wheels for aarch64 are unpacked into FOLDER.
# Needs qemu-aarch64-static (Debian: qemu-user-static), apt, dpkg-deb and pip. 180 MB.
set -euo pipefail
folder=$(realpath -m "${1:?usage: make_arm_board.sh FOLDER}")
python=${PYTHON:-python3}
qemu=$(command -v qemu-aarch64-static)
rm -rf "$folder"
mkdir -p "$folder"/apt/{lists,cache/archives}/partial "$folder"/{system/proc,packages,wheels}

# The machine's own sources and keys, another architecture, and a state of its own.
touch "$folder/apt/status"
options=(-o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root
  -o Acquire::Languages=none -o Dir::State="$folder/apt"
  -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt/cache")
apt-get "${options[@]}" -q update
apt-get "${options[@]}" -q install -y --download-only --no-install-recommends \
  python3.11-minimal libpython3.11-stdlib libstdc++6 libgcc-s1 libgomp1 zlib1g
for package in "$folder"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$folder/system"; done

"$python" -m pip download -q --no-deps --only-binary :all: -d "$folder/wheels" \
  --python-version 311 --implementation cp --platform manylinux_2_34_aarch64 \
  --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  'numpy<2' ai-edge-litert==2.3.0 tflite-runtime==2.14.0 \
  flatbuffers typing_extensions backports.strenum tqdm 'protobuf<7'
for wheel in "$folder"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$folder/packages"; done
mkdir "$folder/packages-tflite-runtime"
mv "$folder"/packages/tflite_runtime* "$folder/packages-tflite-runtime"
ln -s ../packages/numpy ../packages/numpy.libs "$folder/packages-tflite-runtime"

# LiteRT crashes on the cpuinfo of another architecture; this is a Raspberry Pi 4's.
for core in 0 1 2 3; do
  printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n' "$core"
  printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n'
  printf 'CPU part\t: 0xd08\nCPU revision\t: 3\n\n'
done > "$folder/system/proc/cpuinfo"
printf 'Model\t\t: Raspberry Pi 4 Model B Rev 1.1\n' >> "$folder/system/proc/cpuinfo"

# Bytecode is kept from the first start on: compiling takes two thirds of an emulated start.
# The file called python3 is there only once everything else is and works.
launcher() {
  printf '#!/bin/sh\nunset PYTHONDONTWRITEBYTECODE\nexport PYTHONPATH=%q\n' "$1"
  printf 'exec %q -cpu cortex-a72 -L %q %q "$@"\n' \
    "$qemu" "$folder/system" "$folder/system/usr/bin/python3.11"
}
launcher "$folder/packages" > "$folder/unproved"
launcher "$folder/packages-tflite-runtime" > "$folder/python3-tflite-runtime"
chmod +x "$folder/unproved" "$folder/python3-tflite-runtime"
rm -rf "$folder/apt" "$folder/wheels"
"$folder/unproved" -c 'import ai_edge_litert.interpreter, platform; print(platform.machine())'
"$folder/python3-tflite-runtime" -c 'import tflite_runtime.interpreter'
mv "$folder/unproved" "$folder/python3"
