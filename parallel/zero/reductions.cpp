#include "parallel/zero/reductions.hpp"

#include <utility>

namespace skymm {

void Reductions::make_room() {
  while (!under_way_.empty() && under_way_.front().handle.test()) finish_oldest();
  while (under_way_.size() >= most) finish_oldest();
}

void Reductions::push(Handle handle, Tensor kept, Tensor parts, Tensor sum) {
  under_way_.push_back({std::move(handle), std::move(kept), std::move(parts), std::move(sum)});
  if (!overlap_) finish();
}

void Reductions::finish() {
  while (!under_way_.empty()) finish_oldest();
}

void Reductions::finish_oldest() {
  UnderWay& oldest = under_way_.front();
  oldest.handle.wait();
  const std::int64_t size = oldest.sum.defined() ? oldest.sum.numel() : 0;
  for (std::int64_t at = 0; size > 0 && at < oldest.parts.numel(); at += size) {
    oldest.sum.add(oldest.parts.slice(0, at, at + size));
  }
  under_way_.pop_front();
}

}  // namespace skymm
