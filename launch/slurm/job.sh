# What the batch scripts of this folder share. `run COMMAND...` is their last line: it runs the ranks of the job, passes
# on Slurm's warning that the end is near, and ends the script as it should.
#
#   0             the run is done
#   75            it saved: the job is put back into the queue (not where REQUEUE=no: launch/slurm/chain), to go on
#   70, a signal  a rank hung or died, or the run could not save when asked to stop: put back, MOST_RESTARTS times at
#                 most, to go on from the newest checkpoint
#   other         the job fails with this code: starting again would not help. 74: the run is done, but its last
#                 checkpoint could not be written
#
# Slurm itself puts a job back that it preempts, or of which a node is lost. `scancel JOB` ends it for good: under srun the
# ranks still save, in Slurm's KillWait. To have it saved under mpirun too:
#   scontrol update jobid=JOB requeue=0; scancel --signal=USR1 --batch JOB
MOST_RESTARTS=${MOST_RESTARTS:-20}

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} OMP_WAIT_POLICY=passive
export OMPI_MCA_hwloc_base_binding_policy=none  # mpirun binds a rank to one core otherwise, however many threads it has

# A task of an array. SLURM_JOB_ID may be the array's own id, which means all of its tasks.
job=$SLURM_JOB_ID
[[ -z ${SLURM_ARRAY_TASK_ID:-} ]] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

note() { printf '%s job %s: %s\n' "$(date '+%F %T')" "$job" "$*"; }

run() {
  note "start ${SLURM_RESTART_COUNT:-0} on $SLURM_JOB_NODELIST"
  local ranks= code cancelled=
  trap 'note "asks the run to save and end"; [[ -z $ranks ]] || kill -USR1 "$ranks"' USR1
  trap 'cancelled=yes' TERM
  "$@" &  # a shell acts on a signal only between commands: so it waits for the ranks instead of running them in front
  ranks=$!
  while kill -0 "$ranks" 2> /dev/null; do wait "$ranks"; done
  wait "$ranks"
  code=$?
  note "ended with $code"
  [[ -n $cancelled ]] || put_back "$code"
  exit "$code"
}

put_back() {
  [[ ${REQUEUE:-yes} == yes ]] || return 0
  case $1 in
    75) ;;
    130) return 0 ;;  # interrupted by a person
    70|129|1[3-9][0-9]) ((${SLURM_RESTART_COUNT:-0} < MOST_RESTARTS)) || { note "restarted $MOST_RESTARTS times"; return 0; } ;;
    *) return 0 ;;
  esac
  scontrol requeue "$job" && exit 0  # at once: Slurm waits for the end of this script
}
