#!/usr/bin/env bash
# On a machine with GPUs, settles what no other can show of skymm's CUDA kernels (docs/cuda.md): builds them for its GPUs,
# runs the table of cases on one, trains on one and two, measures, and says of each claim a line: PROVEN, FAILED, or NOT RUN
# and why.
#   tests/on_gpu.sh [--build DIR] [--data DIR]
#     --build DIR   of the preset cuda                                                      (default build/on_gpu)
#     --data DIR    the data set picturebook, for training nano; launch/quickstart makes it (default data/picturebook)
# Code 0: nothing failed; 1: something did; 77: there is no GPU here, and nothing was run. What the steps print is in
# DIR/logs.
set -uo pipefail
cd "$(dirname "$0")/.."
build=build/on_gpu data=data/picturebook
while (($#)); do
  case "$1" in
    -h|--help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "$0"; exit 0 ;;
    --build|--data) [[ $# -ge 2 ]] || { echo "tests/on_gpu.sh: $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift 2 ;;
    *) echo "tests/on_gpu.sh: unknown option '$1'; see tests/on_gpu.sh --help" >&2; exit 2 ;;
  esac
done
gpus=$(nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader 2> /dev/null) || gpus=
if [[ -z $gpus ]]; then
  echo "tests/on_gpu.sh: no GPU here (nvidia-smi names none): nothing was run, and nothing is proven"
  exit 77
fi
echo "$gpus"
gpu_count=$(wc -l <<< "$gpus")
name=$(head -n 1 <<< "$gpus" | sed 's/,[^,]*$//')
architectures=$(sed 's/.*, *//; s/\.//; s/$/-real/' <<< "$gpus" | sort -u | paste -sd ';')
export PATH=$PATH:/usr/local/cuda/bin OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
((EUID == 0)) && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
logs=$build/logs
mkdir -p "$logs"

failures=0
proven() { printf 'PROVEN   %s\n' "$1"; }
failed() { printf 'FAILED   %s; see %s\n' "$1" "$2"; failures=1; }
not_run() { printf 'NOT RUN  %s: %s\n' "$1" "$2"; }
# claim WHAT LOG COMMAND...: PROVEN where the command succeeds, NOT RUN where it ends with 77.
claim() {
  local what=$1 log=$logs/$2.log
  shift 2
  "$@" > "$log" 2>&1
  case $? in
    0) proven "$what" ;;
    77) not_run "$what" "$(tail -n 1 "$log")" ;;
    *) failed "$what" "$log" ;;
  esac
}

# A machine that is no Debian may have by other means what this would install: the build shows it.
launch/setup --tests > "$logs/setup.log" 2>&1 || not_run "launch/setup" "$(tail -n 1 "$logs/setup.log")"
make_build() {
  cmake --preset cuda -B "$build" "-DCMAKE_CUDA_ARCHITECTURES=$architectures" && cmake --build "$build" -j "$(nproc)"
}
claim "the kernels compile for $architectures" build make_build
((failures)) && exit 1
claim "no kernel spills, and registers are the table's (tests/cuda/resources)" resources tests/cuda/resources "$build"

# ---- the table of cases --------------------------------------------------------------------------------------------

rows=$(ctest --test-dir "$build" -N -R '/cuda$' -E cudnn | sed -n 's/^ *Test *#[0-9]*: //p')
run_rows() {  # REGEX OPTION...
  local said code=0
  said=$(ctest --test-dir "$build" -R "$@" --output-on-failure --no-tests=error) || code=1
  echo "$said"
  [[ $said != *"***Skipped"* ]] || { echo "the device did not open, or the build lacks what the row tests"; return 77; }
  return $code
}
[[ -n $rows ]] || failed "the table of cases exists" "$logs/build.log"
for row in $rows; do claim "PTX, SASS and rounding: $row" "${row//\//_}" run_rows "^$row\$"; done
claim "streams and weak memory: all cases ten times, four at once on one GPU" repeated \
  run_rows "/cuda\$" -E cudnn --repeat until-fail:10 -j 4

for row in $(ctest --test-dir "$build" -N -R 'cudnn_test/cuda$|/cudnn$' | sed -n 's/^ *Test *#[0-9]*: //p'); do
  claim "cuDNN against double precision: $row" "${row//\//_}" run_rows "^$row\$"
done

sanitize() {  # TOOL
  local test
  for test in cuda_attention_test cuda_multiply_test cuda_quantized_test ops_rows_test ops_norm_test ops_loss_test; do
    SKYMM_TEST_DEVICE=cuda SKYMM_TEST_SHAPES=small timeout 1800 compute-sanitizer --tool "$1" --error-exitcode 9 \
      "$build/tests/$test" || return 1
  done
}
for tool in memcheck racecheck synccheck initcheck; do
  if command -v compute-sanitizer > /dev/null; then
    claim "races and accesses: compute-sanitizer's $tool" "$tool" sanitize "$tool"
  else
    not_run "races and accesses: compute-sanitizer's $tool" "compute-sanitizer is not installed"
  fi
done

# ---- training ------------------------------------------------------------------------------------------------------

train() {  # RANKS RUN_DIR ARGUMENT...
  local ranks=$1 dir=$2
  shift 2
  rm -rf "$dir"
  timeout 1800 mpirun --oversubscribe -n "$ranks" "$build/skymm" train "$@" --run.dir "$dir"
}
# follows RUN OTHER TOLERANCE: the losses of the two runs, step by step, within the relative tolerance; and they fall.
follows() {
  paste -d ' ' <(tests/support/losses "$1") <(tests/support/losses "$2") | awk -v most="$3" '
    NF != 4 { print "one run has more steps"; bad = 1; exit }
    { difference = ($2 - $4) / $4; if (difference < 0) difference = -difference; if (difference > worst) worst = difference }
    NR <= 5 { first += $2 } { last[NR % 5] = $2 }
    END {
      for (i in last) sum += last[i]
      printf "%d steps, losses differ by %g at most, the first five sum to %g, the last five to %g\n", NR, worst, first, sum
      exit bad || NR < 10 || worst > most || sum >= first || sum != sum
    }'
}
tiny=$build/tiny
# Of small gradients Adam makes steps of full length, and of their rounding too, unless epsilon is above it.
above_rounding=(--train.epsilon 1e-3 --train.learning_rate 2e-3 --train.schedule constant --train.warmup_steps 1)
tiny_on() {  # RANKS DEVICE [TRANSPORT]: follows the CPU's losses
  local transport=${3:-auto}
  local dir=$tiny/$2-$1-$transport
  train "$1" "$dir" --config "$tiny/config.ini" --run.device "$2" --parallel.transport "$transport" \
    "${above_rounding[@]}" || return 1
  [[ $2 == cpu ]] || follows "$dir" "$tiny/cpu-1-auto" 1e-3
}
nano_on() {  # RANKS [CUDNN]: follows the run of one rank without cuDNN
  local dir=$build/nano-$1${2:+-cudnn}
  train "$1" "$dir" --config launch/recipes/nano-stage1.ini --run.device cuda --run.cudnn "${2:-none}" --train.steps 100 \
    --data.train "$data/canvases.h5:0.9, $data/stage1.h5:0.1" --data.validation "$data/validation.h5" || return 1
  follows "$dir" "$build/nano-1" 0.02
}
rm -rf "$tiny"
"$build/tests/write_tiny_training" "$tiny" > "$logs/tiny.log" 2>&1
claim "a tiny model trains on the CPU, to compare with" tiny_cpu tiny_on 1 cpu
claim "a tiny model on one GPU follows the CPU's losses to 1e-3" tiny_1 tiny_on 1 cuda
nano_learns() {  # RANKS
  local what="nano learns on $1 of the GPUs, 100 steps"
  if [[ ! -e $data/canvases.h5 ]]; then not_run "$what" "there is no data set in $data; launch/quickstart makes it"
  elif ((gpu_count < $1)); then not_run "$what" "this machine has one GPU"
  else claim "$what" "nano_$1" nano_on "$1"; fi
}
nano_learns 1
what="nano learns with cuDNN's attention and patch embedding as it does without"
if [[ ! -e $data/canvases.h5 ]]; then not_run "$what" "there is no data set in $data; launch/quickstart makes it"
elif grep -q '^CUDNN_LIBRARY:.*NOTFOUND' "$build/CMakeCache.txt"; then not_run "$what" "cuDNN is not installed"
else claim "$what" nano_cudnn nano_on 1 attention,patch_embedding; fi

# ---- speed ---------------------------------------------------------------------------------------------------------

if "$build/bench/bench_cuda_kernels" > "$logs/bench.jsonl" 2> "$logs/bench.log"; then
  if grep -q '/cublaslt' "$logs/bench.jsonl"; then proven "cuBLASLt has an algorithm for large products"
  else failed "cuBLASLt has an algorithm for large products" "$logs/bench.jsonl"; fi
  if grep -q '/cudnn' "$logs/bench.jsonl"; then grep '^{"case": "\(attention/.*full\|patch\)' "$logs/bench.jsonl"
  else not_run "speed beside cuDNN" "this build has none"; fi
  tests/cuda/floors --measured "$logs/bench.jsonl" --gpu "$name" || failures=1
else
  failed "the kernels can be measured" "$logs/bench.log"
fi
if python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  python3 bench/peers/cuda_kernels_pytorch.py "$logs/bench.jsonl"
else
  not_run "speed beside PyTorch" "python3 has no torch with CUDA"
fi

# ---- several GPUs: last, since a rank that hangs in NCCL may leave a GPU that does -----------------------------------

for row in $(ctest --test-dir "$build" -N -R '/nccl_gpus/[0-9]*_ranks$' | sed -n 's/^ *Test *#[0-9]*: //p'); do
  ranks=${row##*/} ranks=${ranks%_ranks}
  if ((gpu_count < ranks)); then not_run "NCCL: $row" "GPUs of this machine: $gpu_count"
  else claim "NCCL: $row" "${row//\//_}" run_rows "^$row\$"; fi
done
if ((gpu_count < 2)); then
  not_run "a tiny model on two GPUs follows the CPU's losses" "this machine has one GPU"
else
  for transport in mpi nccl; do
    claim "a tiny model on two GPUs, by $transport, follows the CPU's losses to 1e-3" "tiny_2_$transport" \
      tiny_on 2 cuda "$transport"
  done
fi
nano_learns 2
what="the watchdog ends a job whose GPUs wait for each other in NCCL"
if ((gpu_count < 2)); then not_run "$what" "this machine has one GPU"
else claim "$what" nccl_abort run_rows '^parallel/faults/collective_by_nccl$'; fi
exit $failures
