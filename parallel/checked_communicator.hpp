// The one entry of all communicators: checks what a call was given, notes it in the ledger, then begins it.
#pragma once

#include <memory>
#include <string>

#include "core/communicator.hpp"
#include "parallel/ledger.hpp"

namespace skymm {

class CheckedCommunicator : public Communicator {
 public:
  CheckedCommunicator(std::shared_ptr<Ledger> ledger, int rank, int size)
      : rank_(rank), size_(size), ledger_(std::move(ledger)) {}

  int rank() const final { return rank_; }
  int size() const final { return size_; }
  const std::string& name() const final { return ledger_->communicator(); }

  Handle isend(const Tensor& x, int to, int tag = 0) final;
  Handle irecv(Tensor x, int from, int tag = 0) final;
  Handle ibroadcast(Tensor x, int root) final;
  Handle iall_reduce(Tensor x) final;
  Handle ireduce_scatter(const Tensor& x, Tensor shard) final;
  Handle iall_gather(const Tensor& shard, Tensor x) final;
  Handle iall_to_all(const Tensor& x, Tensor y) final;
  void barrier() final;
  // Unnamed, it is called after this communicator and its color.
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name = "") final;

  CommunicationCounts counts() const final { return ledger_->counts(); }
  Ledger& ledger() const { return *ledger_; }

 private:
  // from: what this rank gives, to: what it gets; the same tensor where a call works in place; undefined for a barrier.
  // Both are on one device, and what computes or reads them may still be enqueued on its current stream.
  virtual Handle begin(const Call& call, const Tensor& from, const Tensor& to) = 0;
  virtual std::unique_ptr<Communicator> divide(const Call& call, int color, int key, const std::string& name) = 0;

  Call note(const Call& call);  // in the ledger and on the status board
  Handle message(CallKind kind, const Tensor& x, int peer, int tag);
  Handle collective(CallKind kind, const Tensor& from, const Tensor& to, int root = -1);

  int rank_, size_;
  std::shared_ptr<Ledger> ledger_;
};

// One rank alone.
class SingleCommunicator final : public CheckedCommunicator {
 public:
  explicit SingleCommunicator(const std::string& name = "world")
      : CheckedCommunicator(std::make_shared<Ledger>(name), 0, 1) {}

  void poll() override {}

 private:
  Handle begin(const Call& call, const Tensor& from, const Tensor& to) override;  // enqueues a copy
  std::unique_ptr<Communicator> divide(const Call& call, int color, int key, const std::string& name) override;
};

}  // namespace skymm
