// What the launcher (mpirun, srun) and Slurm say about this process in its environment: known before MPI starts, and
// where it does not.
#pragma once

#include <string>

namespace skymm {

enum class Launcher { none, mpirun, srun };

struct Job {
  Launcher launcher = Launcher::none;
  bool with_mpi = false;  // the launcher offers what MPI needs to find the other ranks
  int rank = 0, ranks = 1;
  int local_rank = 0, local_ranks = 1;  // among those of this host
  int hosts = 1;
  std::string slurm_id;  // of the Slurm job; empty outside
  int slurm_tasks = 1;   // that it was given, whoever starts them
  int restarts = 0;      // how often Slurm has requeued it, or launch/supervise started it again
};

// What the environment does not tell stays as above.
Job read_job();

// "started by srun: 4 ranks on 2 hosts, 2 on this one; Slurm job 12, restart 1"
std::string describe(const Job& job);

// Throws Error where the launcher started several ranks but each sees `found` of them, itself alone: without a word
// they would all do the same work and write the same files.
void check_ranks(const Job& job, int found);

// Throws Error where Slurm gave the job several tasks, but this process was started without a launcher.
void check_launcher(const Job& job);

}  // namespace skymm
