#include "parallel/zero/frozen.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace skymm {
namespace {

Tensor flat(const Tensor& x) { return x.view({x.numel()}); }

Tensor buffer(std::int64_t elements, const Tensor& like) {
  const PurposeScope purpose(Purpose::communication);
  return Tensor::empty({elements}, like.dtype(), like.device());
}

// f(tensor, its part of `whole`), tensor by tensor; returns where in `whole` the last ends.
template <class F>
std::int64_t each_place(const std::vector<Tensor>& tensors, const Tensor& whole, const F& f) {
  std::int64_t at = 0;
  for (const Tensor& tensor : tensors) {
    f(flat(tensor), whole.slice(0, at, at + tensor.numel()));
    at += tensor.numel();
  }
  return at;
}

}  // namespace

std::vector<std::int64_t> gathers_of(const LayerUses& uses) {
  std::vector<std::int64_t> order;
  for (const auto& layers : uses) order.insert(order.end(), layers.begin(), layers.end());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  return order;
}

FrozenShards::FrozenShards(Communicator& data, bool overlap)
    : data_(data.split(0, data.rank(), data.name() + " frozen weights")), overlap_(overlap) {}

void FrozenShards::add(std::int64_t layer, const std::vector<Tensor>& tensors) {
  check(!holds(layer) && !tensors.empty(), "layer {} has no frozen weights to shard, or they were sharded before",
        layer);
  Layer parts;
  for (const Tensor& tensor : tensors) {
    check(tensor.bytes() == tensor.storage().bytes(),
          "a frozen weight of layer {} shares memory with something else; it cannot be sharded", layer);
    const auto same =
        std::ranges::find(parts, tensor.dtype(), [](const Part& part) { return part.tensors[0].dtype(); });
    (same == parts.end() ? parts.emplace_back() : *same).tensors.push_back(tensor);
  }
  for (Part& part : parts) {
    std::int64_t elements = 0;
    for (const Tensor& tensor : part.tensors) elements += tensor.numel();
    const std::int64_t share = (elements + data_->size() - 1) / data_->size();
    const Tensor whole = buffer(share * data_->size(), part.tensors[0]);
    const std::int64_t end =
        each_place(part.tensors, whole, [](const Tensor& tensor, const Tensor& place) { place.copy_from(tensor); });
    whole.slice(0, end, whole.numel()).fill(0);
    const PurposeScope purpose(Purpose::weights);
    part.shard = whole.slice(0, data_->rank() * share, (data_->rank() + 1) * share).clone();
  }
  current_stream(tensors[0].device()).synchronize();
  for (const Tensor& tensor : tensors) tensor.storage().drop();
  layers_[layer] = std::move(parts);
}

void FrozenShards::begin(const LayerUses& uses) {
  check(order_.empty(), "a pass over sharded weights begins before the last has ended");
  ends_.clear();
  for (const auto& layers : uses) {
    order_.insert(order_.end(), layers.begin(), layers.end());
    ends_.push_back(order_.size());
  }
  computation_ = reached_ = 0;
  if (overlap_ && !order_.empty()) begin_gather(0);
}

void FrozenShards::begin_gather(std::size_t place) {
  for (const Part& part : layer_at(place)) {
    next_.wholes.push_back(buffer(part.shard.numel() * data_->size(), part.shard));
    next_.handles.push_back(data_->iall_gather(part.shard, next_.wholes.back()));
  }
}

void FrozenShards::advance() {
  if (!repeats(reached_)) {
    release();
    if (next_.wholes.empty()) begin_gather(reached_);
    wait_all(next_.handles);
    present_ = std::exchange(next_, {});
  }
  ++reached_;
}

void FrozenShards::use(std::int64_t layer) {
  check(computation_ < ends_.size(), "sharded weights of layer {} are used outside of a pass", layer);
  std::size_t place = computation_ == 0 ? 0 : ends_[computation_ - 1];
  if (reached_ > 0) place = std::max(place, reached_ - 1);
  while (place < ends_[computation_] && order_[place] != layer) ++place;
  check(place < ends_[computation_],
        "layer {} is used where its pass does not have it; the order of its layers is wrong", layer);
  while (reached_ <= place) advance();
  unpack();
  std::size_t next = reached_;
  while (next < order_.size() && repeats(next)) ++next;
  if (overlap_ && next < order_.size() && next_.wholes.empty()) begin_gather(next);
}

// To where the layer computes. What it arrived in goes before the next is gathered, so that two layers are the most.
void FrozenShards::unpack() {
  if (is_unpacked_) return;
  const Layer& layer = layer_at(reached_ - 1);
  for (std::size_t i = 0; i < layer.size(); ++i) {
    for (const Tensor& tensor : layer[i].tensors) tensor.storage().take();
    each_place(layer[i].tensors, present_.wholes[i],
               [](const Tensor& tensor, const Tensor& place) { tensor.copy_from(place); });
    present_.wholes[i] = Tensor();
  }
  present_ = {};
  is_unpacked_ = true;
}

void FrozenShards::release() {
  present_ = {};
  if (!std::exchange(is_unpacked_, false)) return;
  const Layer& layer = layer_at(reached_ - 1);
  current_stream(layer[0].shard.device()).synchronize();  // work under way may still read them
  for (const Part& part : layer) {
    for (const Tensor& tensor : part.tensors) tensor.storage().drop();
  }
}

void FrozenShards::end_computation() {
  while (reached_ < ends_[computation_]) advance();
  ++computation_;
}

void FrozenShards::end() {
  check(computation_ == ends_.size(), "a pass over sharded weights ends after {} of {} computations", computation_,
        ends_.size());
  release();
  order_.clear();
  ends_.clear();
}

std::int64_t FrozenShards::bytes_of(const Layer& layer) {
  std::int64_t sum = 0;
  for (const Part& part : layer) {
    for (const Tensor& tensor : part.tensors) sum += static_cast<std::int64_t>(tensor.bytes());
  }
  return sum;
}

std::int64_t FrozenShards::bytes() const {
  std::int64_t sum = 0;
  for (const auto& [number, layer] : layers_) sum += bytes_of(layer);
  return sum;
}

std::int64_t FrozenShards::largest_layer() const {
  std::int64_t most = 0;
  for (const auto& [number, layer] : layers_) most = std::max(most, bytes_of(layer));
  return most;
}

}  // namespace skymm
