#include "parallel/zero/chunk.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace skymm {
namespace {

Tensor flat(const Tensor& x) { return x.view({x.numel()}); }

Tensor elements(const Tensor& x, const Piece& piece) { return flat(x).slice(0, piece.begin, piece.end); }

std::vector<NamedParameter> backwards(std::vector<NamedParameter> parameters) {
  std::ranges::reverse(parameters);
  for (const NamedParameter& entry : parameters) {
    const Parameter& p = *entry.parameter;
    check(p.value.defined() && p.value.shape() == p.shape, "parameter {} is to be trained but has no value",
          entry.name);
  }
  return parameters;
}

FlatLayout layout_of(const std::vector<NamedParameter>& parameters, const ZeroOptions& zero, int ranks) {
  std::vector<std::int64_t> sizes;
  for (const NamedParameter& entry : parameters) sizes.push_back(entry.parameter->shape.numel());
  return flat_layout(sizes, zero.stage == 0 ? 1 : ranks, zero.bucket_bytes / static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace

ZeroChunk::ZeroChunk(std::vector<NamedParameter> parameters, const ZeroOptions& zero, Communicator& data,
                     Reductions& reductions)
    : parameters_(backwards(std::move(parameters))),
      stage_(zero.stage),
      data_(data),
      reductions_(reductions),
      layout_(layout_of(parameters_, zero, data.size())),
      owned_(owned_pieces(layout_, zero.stage == 0 ? 0 : data.rank())) {
  if (parameters_.empty()) return;
  for (std::size_t i = 0; i < parameters_.size(); ++i) index_of_[parameters_[i].parameter] = i;
  complete_.resize(parameters_.size());
  const Tensor& first = parameters_[0].parameter->value;
  for (const NamedParameter& entry : parameters_) {
    const DType dtype = entry.parameter->value.dtype();
    check(stage_ == 0 || dtype == first.dtype(), "{} is {} but {} is {}; ZeRO shards weights of one dtype",
          parameters_[0].name, name_of(first.dtype()), entry.name, name_of(dtype));
  }
  {
    const PurposeScope purpose(Purpose::optimizer);
    states_ = Tensor::zeros({3, layout_.shard_size}, DType::f32, first.device());
  }
  {
    const PurposeScope purpose(Purpose::gradients);
    gradients_ = Tensor::zeros({stage_ < 2 ? layout_.size() : layout_.shard_size}, DType::f32, first.device());
  }
  for (const Owned& mine : owned()) mine.state.master.copy_from(mine.value);
  if (stage_ < 2) {
    take_whole_gradients();
  } else {
    for (const NamedParameter& entry : parameters_) entry.parameter->clear_gradient();
  }
  if (stage_ == 3) shard_values();
}

void ZeroChunk::take_whole_gradients() {
  std::int64_t at = 0;  // padding comes only after the last
  for (const NamedParameter& entry : parameters_) {
    Parameter& p = *entry.parameter;
    p.gradient = gradients_.slice(0, at, at + p.shape.numel()).view(p.shape);
    at += p.shape.numel();
  }
}

// From whole weights to shards. Memory is given up by storages, since layers hold views of the values of their own
// (of q, k and v as one matrix, say); whatever else views them must go with them.
void ZeroChunk::shard_values() {
  Tensor shard;
  {
    const PurposeScope purpose(Purpose::weights);
    const Tensor& first = parameters_[0].parameter->value;
    shard = Tensor::zeros({layout_.shard_size}, first.dtype(), first.device());
  }
  for (const Piece& piece : owned_) {
    shard.slice(0, piece.at, piece.at + piece.size())
        .copy_from(elements(parameters_[piece.parameter].parameter->value, piece));
  }
  values_ = shard;
  std::vector<std::size_t> covered;  // bytes of each storage that trains
  for (const NamedParameter& entry : parameters_) {
    const Tensor& value = entry.parameter->value;
    const auto known = std::ranges::find_if(weights_, [&](const Tensor& x) { return x.shares_storage(value); });
    const auto i = static_cast<std::size_t>(known - weights_.begin());
    if (known == weights_.end()) {
      weights_.push_back(value);
      covered.push_back(0);
    }
    covered[i] += value.bytes();
  }
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    check(covered[i] == weights_[i].storage().bytes(),
          "a weight of the chunk that begins with {} shares memory with one that is not trained with it; ZeRO stage 3 "
          "cannot release it; use stage 2",
          parameters_[0].name);
  }
  gathered_ = 1;
  release_weights();
}

std::vector<ZeroChunk::Owned> ZeroChunk::owned() const {
  std::vector<Owned> all;
  const int rank = stage_ == 0 ? 0 : data_.rank();
  for (const Piece& piece : owned_) {
    const NamedParameter& entry = parameters_[piece.parameter];
    const std::int64_t begin = piece.at, end = begin + piece.size();
    const auto state = [&](int row) { return flat(states_.slice(0, row, row + 1)).slice(0, begin, end); };
    const std::int64_t gradient = stage_ < 2 ? layout_.in_whole(begin, rank) : begin;
    all.push_back({{{entry.name, entry.parameter->shape, piece.begin, piece.end}, state(0), state(1), state(2)},
                   gradients_.slice(0, gradient, gradient + piece.size()),
                   values_.defined() ? values_.slice(0, begin, end) : elements(entry.parameter->value, piece),
                   end});
  }
  return all;
}

Tensor ZeroChunk::buffer(std::int64_t elements, DType dtype) const {
  const PurposeScope purpose(Purpose::communication);
  return Tensor::empty({elements}, dtype, states_.device());
}

Tensor ZeroChunk::part_of(const Tensor& whole, const Bucket& bucket) const {
  const std::int64_t part = layout_.part(bucket);
  return whole.slice(0, data_.rank() * part, (data_.rank() + 1) * part);
}

Tensor ZeroChunk::shard_of(const Tensor& shard, const Bucket& bucket) const {
  return shard.slice(0, bucket.shard_at, bucket.shard_at + layout_.part(bucket));
}

void ZeroChunk::complete_gradient(const Parameter& parameter) {
  const auto found = index_of_.find(&parameter);
  if (found == index_of_.end()) return;  // of another chunk
  check(!complete_[found->second], "the gradient of {} is complete twice", parameters_[found->second].name);
  complete_[found->second] = true;
  const auto is_complete = [this](const Piece& piece) { return complete_[piece.parameter]; };
  while (next_bucket_ < layout_.buckets.size() &&
         std::ranges::all_of(layout_.buckets[next_bucket_].pieces, is_complete)) {
    reduce_next_bucket();
  }
}

// A rank where no gradient arose takes part with zeros. Each gradient is released once its last piece is copied.
Tensor ZeroChunk::gradients_of(const Bucket& bucket) {
  const Tensor whole = buffer(bucket.size, DType::f32);
  for (const Piece& piece : bucket.pieces) {
    Parameter& p = *parameters_[piece.parameter].parameter;
    const Tensor target = whole.slice(0, piece.at, piece.at + piece.size());
    if (p.gradient.defined()) {
      target.copy_from(elements(p.gradient, piece));
    } else {
      target.fill(0);
    }
    if (piece.end == p.shape.numel()) p.clear_gradient();
  }
  whole.slice(0, bucket.used, bucket.size).fill(0);
  return whole;
}

void ZeroChunk::reduce_next_bucket() {
  const Bucket& bucket = layout_.buckets[next_bucket_++];
  reductions_.make_room();
  if (stage_ >= 2) {
    const Tensor whole = gradients_of(bucket), shard = shard_of(gradients_, bucket);
    if (data_.size() == 1) {
      shard.add(whole);
      return;
    }
    const Tensor parts = buffer(bucket.size, DType::f32);
    reductions_.push(data_.iall_to_all(whole, parts), whole, parts, shard);
    return;
  }
  const std::int64_t begin = bucket.shard_at * layout_.ranks;
  const Tensor whole = gradients_.slice(0, begin, begin + bucket.size);  // where the sums stay
  reductions_.push(stage_ == 0 ? data_.iall_reduce(whole) : data_.ireduce_scatter(whole, part_of(whole, bucket)),
                   whole);
}

void ZeroChunk::reduce_gradients(bool last) {
  if (parameters_.empty() || (stage_ < 2 && !last)) return;
  check(stage_ >= 2 || !reduced_, "the gradients of the chunk that begins with {} were reduced before in this step",
        parameters_[0].name);
  reduced_ = true;
  while (next_bucket_ < layout_.buckets.size()) reduce_next_bucket();
  next_bucket_ = 0;
  complete_.assign(complete_.size(), false);
}

void ZeroChunk::sum_gradients() {
  if (parameters_.empty()) return;
  if (!reduced_) reduce_gradients(true);
  if (stage_ < 2) return;
  for (const NamedParameter& entry : parameters_) {
    check(!entry.parameter->gradient.defined(),
          "{} has a gradient that came after the last reduce_gradients() of the step", entry.name);
  }
}

void ZeroChunk::clear_gradients() {
  if (!parameters_.empty()) gradients_.fill(0);
  if (stage_ >= 2) {  // those that nobody reduced
    for (const NamedParameter& entry : parameters_) entry.parameter->clear_gradient();
  }
  reduced_ = false;
}

ZeroChunk::Fetch ZeroChunk::begin_fetch(const Bucket& bucket, const Tensor& whole) const {
  const Tensor part = part_of(whole, bucket);
  if (values_.defined()) {
    part.copy_from(shard_of(values_, bucket));
  } else {
    const std::int64_t first = data_.rank() * layout_.part(bucket);
    for (const Piece& piece : bucket.pieces_in(first, first + part.numel())) {
      whole.slice(0, piece.at, piece.at + piece.size())
          .copy_from(elements(parameters_[piece.parameter].parameter->value, piece));
    }
  }
  return {&bucket, whole, data_.iall_gather(part, whole)};
}

void ZeroChunk::finish_fetch(Fetch& fetch) const {
  fetch.handle.wait();
  for (const Piece& piece : fetch.bucket->pieces) {
    elements(parameters_[piece.parameter].parameter->value, piece)
        .copy_from(fetch.whole.slice(0, piece.at, piece.at + piece.size()));
  }
  fetch.whole = Tensor();
}

bool ZeroChunk::shares_values() const { return stage_ == 3 ? gathered_ > 0 : stage_ > 0 && data_.size() > 1; }

// Two buckets are under way at most, so that the memory of two is enough.
void ZeroChunk::share_values(std::int64_t end) {
  if (parameters_.empty() || !shares_values()) return;
  if (next_shared_ == 0) wait_weights();
  for (; next_shared_ < layout_.buckets.size(); ++next_shared_) {
    const Bucket& bucket = layout_.buckets[next_shared_];
    if (bucket.shard_at + layout_.part(bucket) > end) break;
    if (shared_.size() == 2) {
      finish_fetch(shared_.front());
      shared_.pop_front();
    }
    shared_.push_back(begin_fetch(bucket, buffer(bucket.size, parameters_[0].parameter->value.dtype())));
  }
  data_.poll();
}

void ZeroChunk::finish_sharing() {
  share_values(layout_.shard_size);
  for (Fetch& fetch : shared_) finish_fetch(fetch);
  shared_.clear();
  next_shared_ = 0;
}

void ZeroChunk::gather_weights() {
  if (stage_ < 3 || gathered_++ > 0) return;
  for (const Bucket& bucket : layout_.buckets) {
    fetches_.push_back(begin_fetch(bucket, buffer(bucket.size, values_.dtype())));
  }
}

void ZeroChunk::wait_weights() {
  check(stage_ < 3 || gathered_ > 0, "the weights of a chunk are waited for that were not gathered");
  if (fetches_.empty()) return;
  for (const Tensor& weight : weights_) weight.storage().take();
  for (Fetch& fetch : fetches_) finish_fetch(fetch);
  fetches_.clear();
}

void ZeroChunk::release_weights() {
  if (stage_ < 3) return;
  check(gathered_ > 0, "the weights of a chunk are released more often than they were gathered");
  if (--gathered_ > 0) return;
  fetches_.clear();                                                           // waits for those that nobody used
  if (!weights_.empty()) current_stream(weights_[0].device()).synchronize();  // work under way may still read them
  for (const Tensor& weight : weights_) weight.storage().drop();
}

}  // namespace skymm
