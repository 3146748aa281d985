# A real Slurm (munge, slurmctld, four slurmd) on this host, for the script that sources this. Every node has its own
# network, processes and host name; all share the files. What is started here ends with the namespaces that
# `in_namespaces` made, whatever becomes of the script, and no port or mount of the host is touched.
nodes=(n1 n2 n3 n4)

# skip WHY: the exit code that ctest takes for "not run here".
skip() { echo "SKIPPED: $*"; exit 77; }

# in_namespaces SCRIPT [ARGS...]: becomes SCRIPT inside new namespaces, or skips where that is not permitted.
in_namespaces() {
  local missing=()
  for program in munged slurmctld slurmd sbatch srun ip mpirun; do
    command -v "$program" > /dev/null || missing+=("$program")
  done
  ((${#missing[@]} == 0)) || skip "not installed: ${missing[*]} (launch/setup --tests installs them)"
  ((EUID == 0)) || skip "a Slurm of its own needs root, for namespaces"
  local new=(unshare --mount --net --uts --ipc --pid --fork --mount-proc --kill-child=KILL)
  "${new[@]}" ip link add probe type bridge 2> /dev/null || skip "namespaces or network bridges are not permitted here"
  IN_NAMESPACES=1 exec "${new[@]}" "$@"
}

# start_slurm DIR: all of it, in DIR, which is not in /tmp: each node has a /tmp of its own. Sets SLURM_CONF.
start_slurm() {
  slurm=$1
  mkdir -p "$slurm"/{state,log,run}
  mount -t tmpfs tmpfs /run
  mkdir -p /run/munge /run/netns
  hostname ctl
  make_network
  make_munge
  make_slurm_conf
  slurmctld -D > "$slurm/log/slurmctld" 2>&1 &
  for node in "${nodes[@]}"; do start_node "$node"; done
  wait_until 30 "all nodes are idle" all_idle
}

all_idle() { [[ $(sinfo -h -p normal -t idle -o %D 2> /dev/null) == "${#nodes[@]}" ]]; }

# A bridge, and a cable from each node to it.
make_network() {
  ip link set lo up
  ip link add br0 type bridge
  ip address add 10.77.0.1/24 dev br0
  ip link set br0 up
  {
    echo "127.0.0.1 localhost"
    echo "10.77.0.1 ctl"
    for i in "${!nodes[@]}"; do echo "10.77.0.$((11 + i)) ${nodes[i]}"; done
  } > "$slurm/hosts"
  mount --bind "$slurm/hosts" /etc/hosts
  for i in "${!nodes[@]}"; do
    local node=${nodes[i]}
    ip netns add "$node"
    ip link add "$node" type veth peer name eth0 netns "$node"
    ip link set "$node" master br0 up
    ip -n "$node" link set lo up
    ip -n "$node" address add "10.77.0.$((11 + i))/24" dev eth0
    ip -n "$node" link set eth0 up
  done
}

make_munge() {
  head -c 1024 /dev/urandom > "$slurm/munge.key"
  chmod 600 "$slurm/munge.key"
  munged --foreground --force --key-file "$slurm/munge.key" --pid-file "$slurm/run/munged.pid" \
    --seed-file "$slurm/run/munge.seed" --num-threads 2 > "$slurm/log/munged" 2>&1 &
  wait_until 10 "munge answers" munge_answers
}

munge_answers() { munge -n < /dev/null > /dev/null 2>&1; }

make_slurm_conf() {
  export SLURM_CONF=$slurm/slurm.conf
  cat > "$SLURM_CONF" <<END
ClusterName=skymm
SlurmctldHost=ctl(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
MpiDefault=none
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/run/spool.%n
SlurmdPidFile=$slurm/run/%n.pid
SlurmctldPidFile=$slurm/run/slurmctld.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=bf_interval=1,sched_min_interval=100000
SchedulerTimeSlice=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
SlurmdTimeout=10
ReturnToService=2
NodeName=n[1-4] NodeAddr=10.77.0.1[1-4] CPUs=4
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL PriorityTier=10
END
}

start_node() {
  local node=$1
  nsenter --net="/run/netns/$node" unshare --mount --uts --ipc --pid --fork --mount-proc --kill-child=KILL \
    sh -c "hostname $node; mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /dev/shm; exec slurmd -D -N $node" > "$slurm/log/$node" 2>&1 &
  node_processes[$node]=$!
  disown  # or bash reports its death in the middle of a test
}
declare -A node_processes

kill_node() { kill -KILL "${node_processes[$1]}"; }  # with all that runs on it
unplug_node() { ip link set "$1" down; }
plug_node() { ip link set "$1" up; }

# wait_until SECONDS WHAT COMMAND...: until it succeeds; where it does not in time, calls `fail` of the script.
wait_until() {
  local limit=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@"; do
    ((SECONDS < end)) || fail "after $limit s it is not so that $what"
    sleep 0.1
  done
}

# What somebody needs who reads a failed test.
tell_state() {
  [[ -n ${slurm:-} ]] || return 0
  squeue -a 2>&1
  sinfo -N 2>&1
  tail -n 5 "$slurm"/log/* 2>&1
}
