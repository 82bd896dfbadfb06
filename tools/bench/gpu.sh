#!/bin/sh
# What only a machine with an NVIDIA GPU can tell, in about ten minutes: sh tools/bench/gpu.sh FOLDER-FOR-THE-FIGURES
# Needs this package with [cuda], and torch. Each line is worth having alone; figures are printed as they come.
set -u
out=${1:?expected a folder for the figures}
mkdir -p "$out"
race() {
  name=$1
  shift
  python -m tools.bench train --repeats 5 --json "$out/$name.json" "$@"
}
python -c 'import tensorflow as tf; print(tf.config.list_physical_devices("GPU"))'

# Sixteen steps in one program, that with all convolutions as products, and that with two passes through D, against
# PyTorch's loop in one CUDA graph.
race train64 --only ours_auto,ours_auto_products,ours_auto_two_passes,torch,torch_channels_last_bfloat16,torch_graphed,peak_bfloat16
race train64-auto --preset auto --batch 32 --only ours_auto,ours_auto_products,torch,torch_channels_last_bfloat16
# The same where graphs are recorded from two kernels on.
XLA_FLAGS=--xla_gpu_graph_min_graph_size=2 race train64-graphs --only ours_auto,ours_auto_products

# A whole fit with its ticks; then its start, compiled anew and from XLA's own cache.
python -m tools.bench fit --json "$out/fit.json"
python -m tools.bench startup --repeats 3 --json "$out/startup.json"
TF_XLA_FLAGS=--tf_xla_persistent_cache_directory="$out/xla" python -m tools.bench startup --repeats 3 --json "$out/startup-cached.json"
