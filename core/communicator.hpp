// A group of ranks that exchange tensors. parallel/ implements it over MPI, and for a single rank.
#pragma once

#include <exception>
#include <memory>
#include <vector>

#include "core/tensor.hpp"

namespace skymm {

// An operation under way. OpenMPI moves data only inside MPI calls, so whoever computes meanwhile calls test() now and
// then. A handle that goes out of scope waits.
class Handle {
 public:
  class Operation {
   public:
    virtual ~Operation() = default;
    virtual bool test() = 0;  // true once complete
    virtual void wait() = 0;
  };

  Handle() = default;
  explicit Handle(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}
  Handle(Handle&&) = default;
  Handle& operator=(Handle&& other) {
    wait();
    operation_ = std::move(other.operation_);
    return *this;
  }
  // While an exception unwinds it does not wait: the message may never come, and the job is about to end.
  ~Handle() {
    if (std::uncaught_exceptions() == 0) wait();
  }

  bool test() {
    if (operation_ && operation_->test()) operation_.reset();
    return operation_ == nullptr;
  }
  void wait() {
    if (operation_) operation_->wait();
    operation_.reset();
  }

 private:
  std::unique_ptr<Operation> operation_;
};

// Tensors are contiguous. Sums are added in the order of ranks, f32 and bf16 in f32 (f64 and i64 in their own type),
// and are therefore the same on every rank and in every run. Every call checks its buffers, and throws Error that names
// the call.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  virtual Handle isend(const Tensor& x, int to, int tag = 0) = 0;  // x stays untouched until the handle is complete
  virtual Handle irecv(Tensor x, int from, int tag = 0) = 0;
  void send(const Tensor& x, int to, int tag = 0) { isend(x, to, tag).wait(); }
  void recv(Tensor x, int from, int tag = 0) { irecv(x, from, tag).wait(); }

  virtual void broadcast(Tensor x, int root) = 0;
  virtual void all_reduce(Tensor x) = 0;                           // sum, in place
  virtual void reduce_scatter(const Tensor& x, Tensor shard) = 0;  // x [size * n] -> shard [n]: sum of all ranks' part
  virtual void all_gather(const Tensor& shard, Tensor x) = 0;      // shard [n] -> x [size * n], in rank order
  virtual void all_to_all(const Tensor& x, Tensor y) = 0;          // part r of x goes to rank r; both [size * n]
  virtual void barrier() = 0;
  // Ranks of one color form a new communicator, ordered by key and then by rank.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
};

}  // namespace skymm
