#include "parallel/zero/reductions.hpp"

#include <utility>

namespace skymm {

void Reductions::make_room() {
  while (!under_way_.empty() && under_way_.front().handle.test()) finish_oldest();
  while (under_way_.size() >= most) finish_oldest();
}

void Reductions::push(Handle handle, Tensor whole, Tensor part, Tensor sum) {
  under_way_.push_back({std::move(handle), std::move(whole), std::move(part), std::move(sum)});
  if (!overlap_) finish();
}

void Reductions::finish() {
  while (!under_way_.empty()) finish_oldest();
}

void Reductions::finish_oldest() {
  UnderWay& oldest = under_way_.front();
  oldest.handle.wait();
  if (oldest.sum.defined()) oldest.sum.add(oldest.part);
  under_way_.pop_front();
}

}  // namespace skymm
