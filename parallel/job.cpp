#include "parallel/job.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

#include "core/error.hpp"

namespace skymm {
namespace {

bool has(const char* variable) { return std::getenv(variable) != nullptr; }

// Of the first variable that is set to a whole number.
int number(std::initializer_list<const char*> variables, int otherwise) {
  for (const char* variable : variables) {
    const char* text = std::getenv(variable);
    if (text == nullptr) continue;
    const std::string_view digits(text);
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc() && end == digits.data() + digits.size()) return value;
  }
  return otherwise;
}

// Of node `node` in Slurm's short form: "2(x3),1" is 2, 2, 2, 1.
int tasks_of_node(std::string_view list, int node, int otherwise) {
  while (!list.empty()) {
    const std::string_view item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    int tasks = 0, nodes = 1;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), tasks);
    if (error != std::errc()) return otherwise;
    const std::size_t times = item.find("(x");
    if (times != std::string_view::npos) {
      std::from_chars(item.data() + times + 2, item.data() + item.size(), nodes);
    }
    if (node < nodes) return tasks;
    node -= nodes;
  }
  return otherwise;
}

void read_mpirun(Job& job) {
  job.launcher = Launcher::mpirun;
  job.with_mpi = true;
  job.rank = number({"OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}, 0);
  job.ranks = number({"OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE"}, 1);
  job.local_rank =
      number({"OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID"}, 0);
  job.local_ranks = number(
      {"OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PALS_LOCAL_SIZE"}, job.ranks);
  job.hosts = number({"OMPI_MCA_orte_num_nodes"}, 1);
}

void read_srun(Job& job) {
  job.launcher = Launcher::srun;
  job.with_mpi = has("PMIX_RANK") || has("PMI_RANK");
  job.rank = number({"SLURM_PROCID"}, 0);
  job.ranks = number({"SLURM_STEP_NUM_TASKS"}, 1);
  job.local_rank = number({"SLURM_LOCALID"}, 0);
  job.hosts = number({"SLURM_STEP_NUM_NODES"}, 1);
  const char* tasks = std::getenv("SLURM_STEP_TASKS_PER_NODE");
  job.local_ranks = tasks_of_node(tasks == nullptr ? "" : tasks, number({"SLURM_NODEID"}, 0), job.ranks);
}

}  // namespace

Job read_job() {
  Job job;
  // mpirun starts its daemons by srun where there is one: what it says goes first.
  if (has("OMPI_COMM_WORLD_RANK") || has("MV2_COMM_WORLD_RANK")) {
    read_mpirun(job);
  } else if (has("SLURM_STEP_NUM_TASKS")) {  // which a batch script does not have
    read_srun(job);
  } else if (has("PMIX_RANK") || has("PMI_RANK")) {
    read_mpirun(job);
  }
  if (const char* id = std::getenv("SLURM_JOB_ID")) job.slurm_id = id;
  job.slurm_tasks = number({"SLURM_NTASKS"}, 1);
  job.restarts = number({"SLURM_RESTART_COUNT", "SKYMM_RESTARTS"}, 0);
  return job;
}

std::string describe(const Job& job) {
  std::string text = job.launcher == Launcher::none     ? "started by hand: one rank"
                     : job.launcher == Launcher::mpirun ? "started by mpirun"
                                                        : "started by srun";
  if (job.launcher != Launcher::none) {
    text += fmt::format(": {} ranks on {} hosts, {} on this one", job.ranks, job.hosts, job.local_ranks);
  }
  if (!job.slurm_id.empty()) text += fmt::format("; Slurm job {}", job.slurm_id);
  if (job.restarts > 0) text += fmt::format(", restart {}", job.restarts);
  return text;
}

void check_ranks(const Job& job, int found) {
  check(
      job.ranks <= 1 || found > 1,
      "{} started {} ranks, but each of them thinks that it is alone: MPI did not find the others. Use srun --mpi=pmix "
      "(srun --mpi=list shows whether this Slurm has it) or, inside the job, mpirun",
      job.launcher == Launcher::srun ? "srun" : "the launcher", job.ranks);
}

void check_launcher(const Job& job) {
  check(
      job.launcher != Launcher::none || job.slurm_tasks <= 1,
      "Slurm gave job {} {} tasks, but this is one process without a launcher: start it by mpirun or srun --mpi=pmix, "
      "or by srun -n 1 where one rank is meant",
      job.slurm_id, job.slurm_tasks);
}

}  // namespace skymm
