#include "parallel/zero/states.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr int root = 0;

// The states of this rank one after the other: holders come in the same order.
class Cursor {
 public:
  explicit Cursor(const std::vector<Optimizer::State>& states) : next_(states.begin()) {}
  const Optimizer::State& next(const Slice& slice) {
    check(next_->slice.tensor == slice.tensor && next_->slice.begin == slice.begin,
          "the states of {} were reordered; they must stay in the order of names", slice.tensor);
    return *next_++;
  }

 private:
  std::vector<Optimizer::State>::const_iterator next_;
};

Tensor packed(const Optimizer::State& state, int rows) {
  const Tensor all = Tensor::empty({rows, state.slice.size()}, DType::f32);
  const Tensor* parts[] = {&state.master, &state.m, &state.v};
  for (int row = 0; row < rows; ++row) {
    all.slice(0, row, row + 1).view({state.slice.size()}).copy_from(*parts[row]);
  }
  return all;
}

}  // namespace

void gather_states(const Optimizer& optimizer, StateParts parts, const std::function<void(WholeState)>& take) {
  Communicator& world = optimizer.world();
  const int rows = parts == StateParts::all ? 3 : 1;
  Cursor cursor(optimizer.states());
  for (const SpreadTensor& tensor : optimizer.tensors()) {
    WholeState whole{tensor.name, tensor.shape, {}, {}, {}};
    std::vector<float>* columns[] = {&whole.master, &whole.m, &whole.v};
    if (world.rank() == root) {
      for (int row = 0; row < rows; ++row) columns[row]->resize(static_cast<std::size_t>(tensor.shape.numel()));
    }
    for (const Holder& holder : tensor.holders) {
      const bool mine = holder.rank == world.rank();
      const Optimizer::State* state = mine ? &cursor.next(holder.slice) : nullptr;
      if (!holder.speaks) continue;
      Tensor slice;
      if (mine) slice = packed(*state, rows);
      if (mine && world.rank() != root) world.send(slice, root);
      if (world.rank() != root) continue;
      if (!mine) {
        slice = Tensor::empty({rows, holder.slice.size()}, DType::f32);
        world.recv(slice, holder.rank);
      }
      for (int row = 0; row < rows; ++row) {
        std::ranges::copy(slice.slice(0, row, row + 1).to_vector(), columns[row]->begin() + holder.slice.begin);
      }
    }
    if (world.rank() == root) take(std::move(whole));
  }
}

}  // namespace skymm
