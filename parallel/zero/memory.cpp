#include "parallel/zero/memory.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "parallel/zero/reductions.hpp"

namespace skymm {
namespace {

constexpr std::int64_t gradient_bytes = 4, state_bytes = 12;

std::int64_t total(const ZeroSizes& sizes) {
  return std::accumulate(sizes.chunks.begin(), sizes.chunks.end(), std::int64_t{0});
}

// Parameters of the `count` largest chunks.
std::int64_t largest(const ZeroSizes& sizes, int count) {
  std::vector<std::int64_t> chunks = sizes.chunks;
  std::ranges::sort(chunks, std::greater());
  chunks.resize(std::min(chunks.size(), static_cast<std::size_t>(count)));
  return std::accumulate(chunks.begin(), chunks.end(), std::int64_t{0});
}

}  // namespace

ZeroMemory zero_memory(const ZeroOptions& zero, const ZeroSizes& sizes) {
  const std::int64_t all = total(sizes), chunk = largest(sizes, 1), n = sizes.ranks;
  const auto width = static_cast<std::int64_t>(size_of(sizes.dtype));
  const std::int64_t bucket = std::min(chunk, zero.bucket_bytes / gradient_bytes);
  const auto under_way = static_cast<std::int64_t>(zero.overlap ? Reductions::most : 1);
  const std::int64_t sums = gradient_bytes * std::min(all, under_way * bucket);
  ZeroMemory memory{width * all, gradient_bytes * all, state_bytes * all, n > 1 && sizes.by_nccl ? sums : 0};
  if (zero.stage >= 1) {
    memory.optimizer /= n;
    if (n > 1) memory.communication = std::max(memory.communication, width * std::min(chunk, 2 * bucket));
  }
  if (zero.stage >= 2) {
    memory.gradients = memory.gradients / n + gradient_bytes * chunk;
    memory.communication = n > 1 ? 2 * sums : sums;
  }
  if (zero.stage == 3) {
    memory.weights = memory.weights / n + width * largest(sizes, sizes.gathered);
    memory.communication = std::max(memory.communication, width * chunk);
  }
  return memory;
}

ZeroTraffic zero_traffic(const ZeroOptions& zero, const ZeroSizes& sizes) {
  const std::int64_t all = total(sizes), n = sizes.ranks;
  const auto leaves = [n](std::int64_t bytes) { return bytes / n * (n - 1); };
  const std::int64_t gradients = leaves(gradient_bytes * all);
  const std::int64_t weights = leaves(static_cast<std::int64_t>(size_of(sizes.dtype)) * all);
  switch (zero.stage) {
    case 0:
      return {2 * gradients, 0};
    case 1:
      return {gradients, weights};
    case 2:
      return {sizes.micro_batches * gradients, weights};
    default:
      return {sizes.micro_batches * gradients, sizes.gathers * weights};
  }
}

ZeroMemory frozen_memory(std::int64_t bytes, std::int64_t largest_layer, int ranks) {
  return {.weights = bytes / ranks + largest_layer, .communication = largest_layer};
}

std::int64_t frozen_traffic(std::int64_t gathered, int ranks) { return gathered / ranks * (ranks - 1); }

}  // namespace skymm
