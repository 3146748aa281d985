// The ranks of a job: over MPI where a launcher started them, else one rank alone.
#pragma once

#include <functional>
#include <memory>

#include "core/communicator.hpp"
#include "parallel/checked_communicator.hpp"
#include "parallel/collective_check.hpp"
#include "parallel/mpi_communicator.hpp"

namespace skymm {

// All ranks of the job. The first call starts MPI (asking for MPI_THREAD_MULTIPLE) and the watchdog if a launcher
// started this process, and sets the rank that errors and the log carry; MPI is finalised when the process exits.
// Started by hand, it is a single rank and MPI is not touched. Throws Error where several ranks were
// started but each finds itself alone.
std::unique_ptr<Communicator> world();

// Runs the body of a main(). An exception that leaves it is printed with its rank, and ends all ranks at once with
// exit code 1; otherwise the body's result is returned.
int run_ranks(const std::function<int()>& body);

// Where MPI runs, ends the processes of all ranks at once with this exit code and does not return; else does nothing.
void end_ranks(int code);

}  // namespace skymm
