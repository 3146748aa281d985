#include "parallel/job.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

// The job that a process with these variables sees. The values are those of OpenMPI 4.1.4 and Slurm 22.05.
Job job_with(const Variables& variables) {
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  const Job job = read_job();
  for (const auto& [name, value] : variables) unsetenv(name.c_str());
  return job;
}

const Variables batch = {{"SLURM_JOB_ID", "12"},       {"SLURM_NTASKS", "7"}, {"SLURM_NPROCS", "7"},
                         {"SLURM_RESTART_COUNT", "2"}, {"SLURM_NNODES", "4"}, {"SLURM_NODEID", "0"}};

// Of seven tasks on four nodes, this one is on node `node`.
Variables step(const std::string& node) {
  Variables variables{{"SLURM_STEP_NUM_TASKS", "7"}, {"SLURM_STEP_NUM_NODES", "4"},
                      {"SLURM_LOCALID", "1"},        {"SLURM_STEP_TASKS_PER_NODE", "2(x3),1"},
                      {"SLURM_PROCID", "5"},         {"SLURM_NODEID", node}};
  variables.insert(batch.begin(), batch.end());
  return variables;
}

Variables with_pmix(Variables variables) {
  variables.emplace("PMIX_RANK", "5");
  return variables;
}

TEST(Job, ByHandItIsOneRank) {
  const Job job = job_with({});
  EXPECT_EQ(job.launcher, Launcher::none);
  EXPECT_EQ(job.ranks, 1);
  EXPECT_FALSE(job.with_mpi);
  EXPECT_EQ(describe(job), "started by hand: one rank");
  check_ranks(job, 1);
  check_launcher(job);
}

TEST(Job, SrunSaysWhichRankOfWhichNode) {
  const Job job = job_with(with_pmix(step("2")));
  EXPECT_EQ(job.launcher, Launcher::srun);
  EXPECT_TRUE(job.with_mpi);
  EXPECT_EQ(job.rank, 5);
  EXPECT_EQ(job.local_rank, 1);
  EXPECT_EQ(describe(job), "started by srun: 7 ranks on 4 hosts, 2 on this one; Slurm job 12, restart 2");
  check_ranks(job, 7);
  check_launcher(job);
  EXPECT_EQ(job_with(with_pmix(step("3"))).local_ranks, 1);
}

TEST(Job, MpirunInsideSlurmStartsByItsOwnDaemons) {
  Variables variables = {{"SLURM_STEP_NUM_TASKS", "1"},
                         {"SLURM_STEP_TASKS_PER_NODE", "1"},
                         {"PMIX_RANK", "3"},
                         {"OMPI_COMM_WORLD_SIZE", "4"},
                         {"OMPI_COMM_WORLD_RANK", "3"},
                         {"SLURM_NTASKS", "1"},
                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                         {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                         {"OMPI_MCA_orte_num_nodes", "2"},
                         {"SLURM_JOB_ID", "12"}};
  const Job job = job_with(variables);
  EXPECT_EQ(job.rank, 3);
  EXPECT_EQ(job.local_rank, 1);
  EXPECT_EQ(describe(job), "started by mpirun: 4 ranks on 2 hosts, 2 on this one; Slurm job 12");
}

// As documented for MPICH's hydra and for HPE's PALS; not seen on a machine.
TEST(Job, OtherLaunchersSayWhichRankOfAHost) {
  const Variables eight = {{"PMI_RANK", "5"}, {"PMI_SIZE", "8"}};
  Variables hydra = eight, pals = eight;
  hydra.insert({{"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "4"}});
  pals.insert({{"PALS_LOCAL_RANKID", "1"}, {"PALS_LOCAL_SIZE", "4"}});
  for (const Variables& variables : {hydra, pals}) {
    const Job job = job_with(variables);
    EXPECT_EQ(job.rank, 5);
    EXPECT_EQ(job.local_rank, 1);
    EXPECT_EQ(job.local_ranks, 4);
  }
}

TEST(Job, RanksThatFindThemselvesAloneAreAnError) {
  const auto error_of = [](const Job& job) { return testing::error_of([&] { check_ranks(job, 1); }); };
  EXPECT_THAT(error_of(job_with(step("2"))),
              HasSubstr("srun started 7 ranks, but each of them thinks that it is alone"));
  EXPECT_THAT(error_of(job_with(step("2"))), HasSubstr("srun --mpi=pmix"));
  EXPECT_THAT(error_of(job_with({{"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_RANK", "0"}})),
              HasSubstr("the launcher started 2 ranks"));
}

TEST(Job, TrainingWithoutALauncherInAJobOfSeveralTasksIsAnError) {
  EXPECT_THAT(testing::error_of([] { check_launcher(job_with(batch)); }), HasSubstr("Slurm gave job 12 7 tasks"));
  check_launcher(job_with({{"SLURM_JOB_ID", "12"}, {"SLURM_NTASKS", "1"}}));
}

}  // namespace
}  // namespace skymm
