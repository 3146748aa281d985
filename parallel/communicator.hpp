// Ranks over MPI, or one rank alone. Only CPU tensors; sums need no MPI operation: data is exchanged as bytes and added
// here, in rank order, in f32 (f64 and i64 in their own type), so the result is the same on every rank and in every
// run.
#pragma once

#include <mpi.h>

#include <functional>
#include <memory>

#include "core/communicator.hpp"

namespace skymm {

// All ranks of the job. The first call starts MPI (asking for MPI_THREAD_MULTIPLE) if a launcher started this process,
// and sets the rank that errors and the log carry; MPI is finalised when the process exits. Started by hand, it is a
// single rank and MPI is not touched. Throws Error where srun started several tasks without MPI.
std::unique_ptr<Communicator> world();

// Runs the body of a main(). An exception that leaves it is printed with its rank, and ends all ranks at once with
// exit code 1; otherwise the body's result is returned.
int run_ranks(const std::function<int()>& body);

// Where MPI runs, ends the processes of all ranks at once with this exit code and does not return; else does nothing.
void end_ranks(int code);

// Whether all ranks compare each collective (its number, kind, type and size) before it begins; where they disagree,
// all throw an Error that says who called what. Slower: for finding such a fault. Of the whole process, off at first;
// all ranks must set it alike.
void set_check_collectives(bool on);
bool check_collectives();

class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& name() const override { return name_; }
  Handle isend(const Tensor& x, int to, int tag) override;         // throws Error: there is nobody to send to
  Handle irecv(Tensor x, int from, int tag) override;              // throws Error
  Handle ibroadcast(Tensor x, int root) override;                  // checks only
  Handle iall_reduce(Tensor x) override;                           // checks only
  Handle ireduce_scatter(const Tensor& x, Tensor shard) override;  // copies
  Handle iall_gather(const Tensor& shard, Tensor x) override;      // copies
  Handle iall_to_all(const Tensor& x, Tensor y) override;          // copies
  void barrier() override {}
  void poll() override {}
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name = "") override;
  CommunicationCounts counts() const override { return {}; }

 private:
  std::string name_ = "world";
};

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(MPI_Comm comm);  // takes it over: frees it at the end
  ~MpiCommunicator() override;
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& name() const override { return name_; }
  Handle isend(const Tensor& x, int to, int tag) override;
  Handle irecv(Tensor x, int from, int tag) override;
  Handle ibroadcast(Tensor x, int root) override;
  Handle iall_reduce(Tensor x) override;
  Handle ireduce_scatter(const Tensor& x, Tensor shard) override;
  Handle iall_gather(const Tensor& shard, Tensor x) override;
  Handle iall_to_all(const Tensor& x, Tensor y) override;
  void barrier() override;
  void poll() override {}
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name = "") override;
  CommunicationCounts counts() const override { return {}; }

  // Bytes that one MPI call moves for each pair of ranks; a larger transfer is made of several. For tests.
  void set_largest_message(std::int64_t bytes);

 private:
  // Part r of `from` goes to rank r, each `part` bytes; of each only the bytes [begin, begin + count) move. They
  // arrive `to_stride` bytes apart.
  void exchange(const void* from, std::int64_t part, std::int64_t begin, std::int64_t count, void* to,
                std::int64_t to_stride);
  void gather_parts(void* x, std::int64_t part);  // in place: rank r has part r, all get all
  void sum_parts(const Tensor& x, Tensor shard);  // reduce_scatter after its checks
  void sum_small(Tensor x);                       // all_reduce of few elements: everyone gathers everything

  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
  std::string name_ = "world";
  std::int64_t largest_message_ = std::int64_t{1} << 30;
};

}  // namespace skymm
